"""Files that take their names once all of them are whole: whatever stops the work leaves those that were there."""

import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def files(*paths: Path) -> Generator[list[Path]]:
    """Where to write what is to become `paths`, of one folder: they are replaced at the end, unless an error is raised.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with files(Path(folder, "one.txt"), Path(folder, "other.txt")) as (one, other):
    ...         _ = one.write_text("1"), other.write_text("2")
    ...         before = [path.name for path in Path(folder).glob("*.txt")]
    ...     print(before, sorted(path.name for path in Path(folder).iterdir()))
    [] ['one.txt', 'other.txt']
    """
    folder = paths[0].parent
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    # Beside them, for only within a file system is a file renamed in one step.
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as own:
        made = [Path(own, path.name) for path in paths]
        yield made
        for path, whole in zip(paths, made, strict=True):
            whole.replace(path)
