"""The command as ``python -m rdtheory``, where its script is not on the path."""

from rdtheory.cli import main

if __name__ == "__main__":
    main()
