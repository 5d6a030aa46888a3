"""Groups of tasks dealt out to processes: each group stays in one of them, results come as they are found."""

import multiprocessing
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Literal, NamedTuple, TypeVar

__all__ = ["results"]

Task = TypeVar("Task")
Result = TypeVar("Result")
Start = Literal["spawn", "fork"]
Work = Callable[[Task], Result]


class _Failure(NamedTuple):
    error: BaseException


def results(
    work: Work, groups: Sequence[Sequence[Task]], processes: int = 1, start: Start = "spawn"
) -> Iterator[Result]:
    """``work(task)`` of every task, in this process and in others, `processes` in all at most.

    The first error of a task ends it all. The others `start` as `multiprocessing` calls it: "fork" spares them the time
    to import what this one has imported, but is safe only while nothing of JAX has run.

    Examples
    --------
    >>> list(results(abs, [[-1, 2], [-3]]))
    [1, 2, 3]
    """
    left = [deque(group) for group in groups]
    waiting = deque(left)
    found: SimpleQueue[Result | _Failure] = SimpleQueue()

    def drive(work: Work) -> None:
        with suppress(IndexError):  # no group is left
            while True:
                group = waiting.popleft()
                while group:
                    found.put(_attempt(work, group.popleft()))

    pool = ThreadPoolExecutor(max(1, min(processes, len(groups))))
    with ExitStack() as stack:
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        stack.callback(lambda: [group.clear() for group in left])
        # All processes before the first thread, which may hold a lock that a fork would copy.
        others = [stack.enter_context(_elsewhere(work, start)) for _ in range(min(processes, len(groups)) - 1)]
        for each in (work, *others):
            pool.submit(drive, each)
        for _ in range(sum(map(len, groups))):
            result = found.get()
            if isinstance(result, _Failure):
                raise result.error
            yield result


def _attempt(work: Work, task: Task) -> Result | _Failure:
    try:
        return work(task)
    except BaseException as error:  # to be raised where it is waited for
        return _Failure(error)


@contextmanager
def _elsewhere(work: Work, start: Start) -> Generator[Work]:
    """`work`, done in a process of its own."""
    context = multiprocessing.get_context("fork") if start == "fork" else multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, work), daemon=True)
    with warnings.catch_warnings(), _deaf():
        # JAX and Python warn of threads that would be lost: of those of JAX there are none yet, others are not missed.
        for kind in (RuntimeWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", ".*fork", kind)
        process.start()
    there.close()

    def ask(task: Task) -> Result:
        here.send(task)
        try:
            result = here.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"a process ended with exit status {process.exitcode}, its work undone") from None
        if isinstance(result, _Failure):
            raise result.error
        return result

    try:
        yield ask
    finally:
        process.kill()
        process.join()


@contextmanager
def _deaf() -> Generator[None]:
    """What is started here does not hear Ctrl-C, not even while it imports: this process does, and ends it."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _serve(pipe: Connection, work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(_attempt(work, pipe.recv()))
