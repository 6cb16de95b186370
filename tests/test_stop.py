import os
import signal

import pytest

from runner.stop import SIGNALS, Stop, Stopped


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_signal_only_asks_to_stop(number: signal.Signals, exit_code: int) -> None:
    with Stop() as stop:
        stop.can_wait = True
        assert stop.requested is None
        os.kill(os.getpid(), number)
        assert stop.requested is number
    assert stop.exit_code == exit_code


def test_while_nothing_can_be_saved_a_signal_stops_at_once() -> None:
    with pytest.raises(Stopped, match="SIGTERM"), Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.exit_code == 143


def test_the_first_of_several_signals_counts() -> None:
    with Stop() as stop:
        stop.can_wait = True
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert stop.requested is signal.SIGUSR1


def test_afterwards_signals_do_what_they_did_before() -> None:
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
