"""Prefetch batches in a thread."""

from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.util import Finalize
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast
from weakref import ref

from torch.autograd import profiler

T = TypeVar("T")
END = object()
PATIENCE = 5.0  # seconds to wait for the thread at the exit: more than an operation takes on a busy machine


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items; a thread computes the next one while the current one is in use.

    The first one is computed in the calling thread, because only the main thread should start DataLoader workers: their
    signal mask and torch's handler of SIGCHLD are set there. An early end does not wait for the thread, which ends
    after its item: workers may be slow, or hang.

    Args:
        items: an iterator that uses neither the global random generators nor thread-local state, such as the current
            CUDA device or the grad mode.
    """
    requests: SimpleQueue[Future[Any] | None] = SimpleQueue()

    def compute() -> None:
        while (request := requests.get()) is not None:
            try:
                request.set_result(next(items, END))
            except BaseException as error:
                request.set_exception(error)

    item = next(items, END)
    thread = Thread(target=compute, name="prefetch", daemon=True)  # a daemon: the exit does not wait for slow workers
    Finalize(thread, end, (requests, ref(thread)), exitpriority=30)
    thread.start()
    try:
        while item is not END:
            following: Future[Any] = Future()
            requests.put(following)
            yield cast(T, item)
            with profiler.record_function("wait for a batch"):  # the profiler records this thread only
                item = following.result()
    finally:
        requests.put(None)


def end(requests: SimpleQueue[Future[Any] | None], reference: "ref[Thread]") -> None:
    """End a thread at the exit of the program: one that is inside an operation of torch would abort the process."""
    requests.put(None)
    if (thread := reference()) is not None:  # None after the thread has ended
        thread.join(PATIENCE)
