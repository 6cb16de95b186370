"""Tests of the thread that prepares the next batch."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from runner.data.prefetch import prefetch


def numbers(made: list[str], count: int = 3) -> Iterator[int]:
    try:
        for number in range(count):
            made.append(threading.current_thread().name)
            yield number
    finally:
        made.append("closed")


def test_items_keep_their_order() -> None:
    assert list(prefetch(numbers([]))) == [0, 1, 2]
    assert list(prefetch(iter(()))) == []


def test_thread_computes_one_item_prefetch() -> None:
    made: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        for number in range(4):
            made.append(threading.current_thread().name)
            if number == 1:
                begun.set()
                assert go_on.wait(10)
            yield number

    items = prefetch(slow())
    assert next(items) == 0
    assert begun.wait(10)  # although nobody has asked for it
    assert len(made) == 2
    assert made[0] == threading.current_thread().name
    assert made[1] == "prefetch"
    go_on.set()
    assert list(items) == [1, 2, 3]


def test_error_is_raised_at_its_item() -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise ValueError("damaged")

    items = prefetch(failing())
    assert next(items) == 0
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_early_end_does_not_wait_for_the_item_under_way() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hanging() -> Iterator[int]:
        try:
            yield 0
            threads.append(threading.current_thread())
            begun.set()
            go_on.wait()
            yield 1
        finally:
            made.append("closed")

    made: list[str] = []
    threads: list[threading.Thread] = []
    items = prefetch(hanging())
    next(items)
    assert begun.wait(10)
    items.close()  # type: ignore[attr-defined]  # a generator
    assert not made
    go_on.set()
    threads[0].join(10)
    assert not threads[0].is_alive()
    assert made == ["closed"]


def test_profiler_shows_the_time_of_waiting() -> None:
    with torch.profiler.profile() as profile:
        list(prefetch(numbers([])))
    (event,) = (event for event in profile.key_averages() if event.key == "wait for a batch")
    assert event.count == 3


@pytest.mark.slow
def test_program_may_exit_while_the_thread_computes() -> None:
    script = (
        "import torch\n"
        "from runner.data.prefetch import prefetch\n"
        "items = prefetch(torch.ones(1 << 24).exp() for _ in range(9))\n"
        "next(items)\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
