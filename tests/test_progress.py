import html
import io
import sys
import threading
import time

import pytest
import rich.progress  # noqa: F401  imported where a line is drawn first, which takes longer than tests wait

from rdtheory import _progress


def terminal(monkeypatch) -> None:
    """Let standard error be one, on which a line is shown at once."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(_progress, "AFTER", 0.0)
    monkeypatch.setattr(_progress, "EVERY", 0.01)


def long(capsys) -> str:
    """What is on standard error once a line had time to be drawn."""
    time.sleep(0.5)
    return capsys.readouterr().err


def test_what_is_done_within_something_is_said_behind_it(monkeypatch, capsys):
    terminal(monkeypatch)
    with _progress.doing("outer", 3) as tell:
        tell("news", 1)
        with _progress.doing("inner"):
            assert "outer: news; inner" in long(capsys)
        tell("other news", 1)
        said = long(capsys)
    assert "outer: other news" in said and "inner" not in said and "2/3" in said
    capsys.readouterr()  # drawn a last time, and erased
    assert long(capsys) == ""


def test_a_decorated_function_and_items_in_turn(monkeypatch, capsys):
    terminal(monkeypatch)

    @_progress.doing("squares")
    def squares(numbers):
        return [(number**2, long(capsys)) for number in _progress.each("number", numbers)]

    (one, first), (four, second) = squares([1, 2])
    assert (one, four) == (1, 4)
    assert "squares; number: 1 of 2" in first and "squares; number: 2 of 2" in second


def test_it_ends_with_an_error(monkeypatch, capsys):
    terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), _progress.doing("outer"), _progress.doing("inner"):
        assert "inner" in long(capsys)
        raise KeyboardInterrupt
    capsys.readouterr()
    assert long(capsys) == ""


def test_nothing_is_shown_of_short_calls_elsewhere_or_if_it_is_not_wanted(monkeypatch, capsys):
    terminal(monkeypatch)

    def work(**options):
        with _progress.doing("work", **options):
            return long(capsys)

    assert work(shown=False) == ""
    with _progress.doing("outer", shown=False):
        assert work() == ""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    assert found == [""]
    with monkeypatch.context() as other:
        other.setattr(_progress, "AFTER", 2.0)
        assert work() == ""
    with monkeypatch.context() as other:
        other.setattr(sys.stderr, "isatty", lambda: False)
        assert work() == ""
    assert "work" in work()


def test_in_a_notebook_it_is_an_output_that_is_empty_in_the_end(monkeypatch):
    said = []

    class Output:
        update = staticmethod(lambda data, raw: said.append(data))

    ipython = pytest.importorskip("IPython.display")
    monkeypatch.setattr(ipython, "display", lambda data, raw, display_id: Output())
    monkeypatch.setattr(_progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(_progress, "AFTER", 0.0)
    monkeypatch.setattr(_progress, "EVERY", 0.01)
    with _progress.doing("outer", 3) as tell:
        tell("<news>", 1)
        time.sleep(0.5)
    line = said[-2]["text/plain"]
    assert line.endswith(" s 1/3 outer: <news>") and said[-2]["text/html"] == f"<pre>{html.escape(line)}</pre>"
    assert said[-1] == {"text/plain": "", "text/html": ""}


def test_what_is_printed_meanwhile_goes_where_it_was_going_and_a_terminal_may_vanish(monkeypatch, capsys):
    terminal(monkeypatch)
    with _progress.doing("outer"):
        time.sleep(0.5)
        sys.stdout.write("printed\n")
        monkeypatch.setattr(_progress._Terminal, "stop", lambda self: 1 / 0)
    printed, said = capsys.readouterr()
    assert printed == "printed\n" and "outer" in said and "printed" not in said


def closed() -> io.StringIO:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("stderr", [None, object(), closed()])
def test_standard_error_may_be_anything(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    with _progress.doing("outer") as tell:
        assert tell is _progress.nothing
