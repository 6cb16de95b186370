import os
import signal
import time

import pytest

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
        assert stop.requests == 1
        time.sleep(1.5 * SAME_REQUEST)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requests == 2


def test_ranks_stop_only_when_they_agree() -> None:
    with Stop(ranks=2) as stop:
        stop.can_wait = True
        stop.agree(False)
        assert stop.requested is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received is signal.SIGINT
        assert stop.requested is None  # the other rank is within a step
        stop.agree(False)  # this message was sent before the signal
        assert stop.requested is None
        stop.agree(True)
        assert stop.requested is signal.SIGINT


def test_rank_that_has_received_no_signal_stops_with_the_others() -> None:
    with Stop(ranks=2) as stop:
        stop.can_wait = True
        stop.agree(True)
        assert (stop.received, stop.requested, stop.exit_code) == (None, signal.SIGTERM, 143)
        stop.agree(False)
        assert stop.requested is signal.SIGTERM


def test_rank_stops_without_agreement_once_it_is_alone() -> None:
    with Stop(ranks=2) as stop:
        stop.can_wait = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.requested is None
        stop.stop_agreeing()
        assert stop.requested is signal.SIGUSR1


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
