import os
import signal
import time

import pytest

from runner.machine.distributed import World
from runner.machine.signals import SAME_REQUEST, SIGNALS, Stop


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_signal_requests_a_stop(number: signal.Signals, exit_code: int) -> None:
    with Stop() as stop:
        stop.can_wait = True
        assert stop.requested is None
        os.kill(os.getpid(), number)
        assert stop.requested is number
    assert stop.exit_code == exit_code


def test_signal_raises_unless_it_can_wait() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.exit_code == 143


def test_two_signals_in_quick_succession_are_one_request() -> None:
    with Stop() as stop:
        stop.can_wait = True
        for _ in range(2):  # from the terminal and from the launcher
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.times == 1
        time.sleep(1.5 * SAME_REQUEST)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.times == 2


def test_ranks_stop_only_when_they_agree() -> None:
    told = False

    class Pair(World):
        def any(self, flag: bool) -> bool:
            return flag or told

    with Stop(world=Pair(1, 2)) as stop:
        stop.can_wait = True
        stop.agree()
        assert stop.requested is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested is None  # the other rank is within a step
        stop.agree()
        assert stop.requested is signal.SIGINT
    with Stop(world=Pair(1, 2)) as stop:
        stop.can_wait = told = True
        stop.agree()
        assert (stop.requested, stop.exit_code) == (signal.SIGTERM, 143)


def test_pass_on_calls_the_previous_handler() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with Stop(signal.SIGUSR2) as stop:
            stop.can_wait = True
            stop.pass_on()
            os.kill(os.getpid(), signal.SIGUSR2)
        assert (stop.requested, heard) == (signal.SIGUSR2, [])
        stop.pass_on()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [signal.SIGUSR2]


def test_first_of_several_signals_counts() -> None:
    with Stop() as stop:
        stop.can_wait = True
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert stop.requested is signal.SIGUSR1


def test_previous_handlers_are_restored() -> None:
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: heard.append(number)) for number in SIGNALS}
    try:
        with pytest.raises(ZeroDivisionError), Stop():
            _ = 1 / 0
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == list(SIGNALS)
