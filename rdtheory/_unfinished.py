"""Files that take their names once all of them are whole: whatever stops the work leaves those that were there."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def files(*paths: Path) -> Generator[list[Path]]:
    """Where to write what is to become `paths`, of one folder: they are replaced at the end, unless an error is raised.

    Of a link, the file that it leads to is replaced; a file keeps its mode; a pipe or a device is written to as it is.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with files(Path(folder, "one.txt"), Path(folder, "other.txt")) as (one, other):
    ...         _ = one.write_text("1"), other.write_text("2")
    ...         before = [path.name for path in Path(folder).glob("*.txt")]
    ...     print(before, sorted(path.name for path in Path(folder).iterdir()))
    [] ['one.txt', 'other.txt']
    """
    targets = [_target(path) for path in paths]
    with contextlib.ExitStack() as stack:
        # Beside them, for only within a file system is a file renamed in one step.
        own = {
            folder: stack.enter_context(tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder))
            for folder in {target.parent for target in targets if target is not None}
        }
        made = [
            path if target is None else Path(own[target.parent], path.name)
            for path, target in zip(paths, targets, strict=True)
        ]
        yield made
        for target, whole in zip(targets, made, strict=True):
            if target is None:
                continue
            if target.exists():
                shutil.copymode(target, whole)
            whole.replace(target)


def _target(path: Path) -> Path | None:
    """The file to be replaced, which may be one that links lead to; None if there is a pipe or a device."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, and a file is to be written")
    if path.exists() and not path.is_file():
        return None
    target = Path(os.path.realpath(path))
    for folder in (path.parent, target.parent):
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
    return target
