"""What a long call is doing, on a terminal or in a notebook. Of calls under two seconds nothing is shown.

The line is the outermost call's. What others say within it comes behind: ``curve: 57 points; rate_at: 192 letters``.
"""

import contextlib
import html
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

Tell = Callable[..., None]
Item = TypeVar("Item")

AFTER, EVERY = 2.0, 0.2  # seconds until the line is shown, and until it is drawn again


class _Work:
    """Something under way."""

    def __init__(self, what: str, total: int | None, shown: bool) -> None:
        self.what, self.total, self.shown, self.began = what, total, shown, time.monotonic()
        self.news, self.done = "", 0

    def tell(self, news: str = "", done: int = 0) -> None:
        self.news, self.done = news or self.news, self.done + done

    def __str__(self) -> str:
        return f"{self.what}: {self.news}" if self.news else self.what


class _Line:
    """Drawn by a thread of its own, for the one that computes is inside XLA for seconds."""

    def __init__(self) -> None:
        self.works: list[_Work] = []  # from the outermost in
        self.lock = threading.RLock()  # a work may be closed by the garbage collector while a line is drawn
        self.drawn: _Terminal | _Cell | None = None
        self.watched = False

    def opened(self, work: _Work) -> None:
        with self.lock:
            self.works.append(work)
            if not self.watched:
                threading.Thread(target=self.watch, daemon=True).start()
                self.watched = True

    def closed(self, work: _Work) -> None:
        with self.lock:
            self.works.remove(work)
            if not self.works and self.drawn is not None:
                drawn, self.drawn = self.drawn, None
                with contextlib.suppress(Exception):  # a terminal that is gone is no reason to lose what was computed
                    drawn.stop()

    def watch(self) -> None:
        while True:
            time.sleep(EVERY)
            with self.lock:
                if not self.works:
                    self.watched = False
                    return
                if all(work.shown for work in self.works) and time.monotonic() - self.works[0].began >= AFTER:
                    with contextlib.suppress(Exception):
                        self.draw(list(self.works))

    def draw(self, works: list[_Work]) -> None:
        said = "; ".join(dict.fromkeys(map(str, works)))  # of a function that calls itself once
        if self.drawn is None:
            self.drawn = (_Cell if _in_notebook() else _Terminal)(works[0])
        self.drawn.show(works[0], said)


class _Terminal:
    """A line of standard error, erased in the end. What draws it is imported when there is something to draw."""

    def __init__(self, work: _Work) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        counted = () if work.total is None else (BarColumn(bar_width=20), MofNCompleteColumn())
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = (SpinnerColumn(), *counted, TimeElapsedColumn(), text)
        self.bar = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,  # what is printed meanwhile belongs where it was going
            redirect_stderr=False,
        )
        self.task = self.bar.add_task(work.what, total=work.total)
        # What the task has taken begins with the work, not with the line.
        self.bar.tasks[0].start_time = self.bar.get_time() - (time.monotonic() - work.began)
        self.bar.start()

    def show(self, work: _Work, said: str) -> None:
        self.bar.update(self.task, description=said, completed=work.done, refresh=True)

    def stop(self) -> None:
        self.bar.stop()


class _Cell:
    """The same as an output of a notebook's cell, which is empty in the end."""

    def __init__(self, work: _Work) -> None:
        from IPython.display import display

        self.output = display({"text/plain": work.what}, raw=True, display_id=True)

    def show(self, work: _Work, said: str) -> None:
        counted = "" if work.total is None else f" {work.done}/{work.total}"
        self.put(f"{time.monotonic() - work.began:.0f} s{counted} {said}")

    def stop(self) -> None:
        self.put("")

    def put(self, line: str) -> None:
        self.output.update({"text/plain": line, "text/html": line and f"<pre>{html.escape(line)}</pre>"}, raw=True)


def _somebody_looks() -> bool:
    with contextlib.suppress(AttributeError, ValueError):  # standard error may be closed, or of the user's own making
        return _in_notebook() or sys.stderr.isatty()
    return False


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def nothing(news: str = "", done: int = 0) -> None:
    """Where nobody looks."""


_LINE = _Line()


@contextlib.contextmanager
def doing(what: str, total: int | None = None, *, shown: bool = True) -> Generator[Tell]:
    """While this is open, `what` is being done; also a decorator.

    Parameters
    ----------
    what : a word or two.
    total : pieces of work, for a bar.
    shown : or nothing is said, also not of what is done within.

    Yields
    ------
    A function of news, said behind `what`, and of how many more pieces are done.

    Examples
    --------
    >>> with doing("adding", total=3) as tell:
    ...     for number in range(3):
    ...         tell(f"number {number}", 1)
    """
    # Those of other threads and processes would be written over this one.
    if not (
        _somebody_looks()
        and threading.current_thread() is threading.main_thread()
        and multiprocessing.parent_process() is None
    ):
        yield nothing
        return
    work = _Work(what, total, shown)
    _LINE.opened(work)
    try:
        yield work.tell
    finally:
        _LINE.closed(work)


def each(what: str, items: Sequence[Item]) -> Generator[Item]:
    """The items, while it is said which of them is in hand.

    Examples
    --------
    >>> print(*each("slope", [1.0, 2.0]))
    1.0 2.0
    """
    with doing(what) as tell:
        for number, item in enumerate(items, 1):
            tell(f"{number} of {len(items)}")
            yield item
