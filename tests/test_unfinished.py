"""What stands where a file is to be written stays what it is: a link, a pipe, a mode, a folder."""

import os
import stat

import pytest

from rdtheory import _unfinished


def write(text: str, *paths) -> None:
    with _unfinished.files(*paths) as unfinished:
        for file in unfinished:
            file.write_text(text)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("before")
    with pytest.raises(KeyboardInterrupt), _unfinished.files(old, new) as unfinished:
        for file in unfinished:
            file.write_text("half")
        raise KeyboardInterrupt
    assert (old.read_text(), left(tmp_path)) == ("before", ["old.txt"])


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_the_file_it_leads_to_is_replaced(tmp_path, is_there):
    (tmp_path / "far").mkdir()
    file, link, plain = tmp_path / "far/file.txt", tmp_path / "link.txt", tmp_path / "plain.txt"
    if is_there:
        file.write_text("before")
    (tmp_path / "between.txt").symlink_to("far/file.txt")
    link.symlink_to("between.txt")
    write("after", link, plain)
    assert link.is_symlink() and file.read_text() == plain.read_text() == "after"
    assert left(tmp_path) == ["between.txt", "far", "file.txt", "link.txt", "plain.txt"]


def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_any_new_file(tmp_path):
    private, new, any_new = (tmp_path / name for name in ("private", "new", "any_new"))
    private.touch()
    private.chmod(0o700)  # no new file has that, whatever the umask
    any_new.touch()
    write("after", private, new)
    assert (mode(private), mode(new), private.read_text()) == (0o700, mode(any_new), "after")


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that no writer waits for one
    try:
        write("through", pipe, tmp_path / "file.txt")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and left(tmp_path) == ["file.txt", "pipe"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_is_named_before_any_file_is_replaced(tmp_path, linked):
    file, folder = tmp_path / "file.txt", tmp_path / "folder"
    file.write_text("before")
    if linked:
        (tmp_path / "real").mkdir()
        folder.symlink_to("real")
    else:
        folder.mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write("after", file, folder)
    assert str(folder) in str(error.value) and ".unfinished" not in str(error.value)
    assert file.read_text() == "before"


def test_a_link_into_a_folder_that_is_not_there_is_named(tmp_path):
    (tmp_path / "link.txt").symlink_to("no/file.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder .*no$"):
        write("after", tmp_path / "link.txt")
    assert left(tmp_path) == ["link.txt"]
