import time

import pytest

from gpu import meter
from gpu.meter import BEFORE_PROFILED, PROFILED, WINDOWS, Length, Meter


def test_steps_are_measured_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 13.0, 17.0])  # windows of 2, 1 and 4 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    measured = Meter("cpu", Length(warm_up=3, window=10), images=64)
    waited = iter([1.0, 1.5, 2.0, 2.4])
    measured.waited = lambda: next(waited)
    total = 3 + WINDOWS * 10 + BEFORE_PROFILED + PROFILED
    assert [measured.step() for _ in range(total)] == [False] * (total - 1) + [True]
    row = measured.row()
    assert (row["from"], row["images/s"], row["to"]) == (160, 320, 640)
    assert row["µs/step"] == pytest.approx(200_000)
    assert row["waiting for data"] == "20%"


def test_profile_covers_the_steps_after_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    events = {"launches": 42.0, "kernels": 40.0, "busy": 0.25}
    monkeypatch.setattr(meter, "read", lambda profile: events)
    measured = Meter("cpu", Length(1, 1), images=64)
    while not measured.step():
        pass
    assert measured.profile is not None
    assert sum("ProfilerStep" in event.name for event in measured.profile.events() or []) == PROFILED
    assert measured.profiled(seconds=1) == {"launches/step": 42, "kernels/step": 40, "GPU idle": "75%"}


def test_speed_survives_a_profiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise RuntimeError("CUPTI is not there")

    monkeypatch.setattr(meter, "profile", refuse)
    measured = Meter("cpu", Length(1, 1), images=64)
    while not measured.step():
        pass
    assert measured.row()["images/s"] > 0
    assert measured.profiled(1) == {"result": "ok, but for the profile: RuntimeError: RuntimeError: CUPTI is not there"}


def test_profiler_that_fails_in_a_step_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Broken:
        def __init__(self, **options: object) -> None: ...

        def start(self) -> None: ...

        def step(self) -> None:
            calls.append("step")  # the next one would crash
            raise RuntimeError("no memory for the trace")

    monkeypatch.setattr(meter, "profile", Broken)
    measured = Meter("cpu", Length(1, 1), images=64)
    while not measured.step():
        pass
    assert calls == ["step"]
    assert "no memory for the trace" in measured.profiled(1)["result"]


def test_loop_that_ends_too_early_is_an_error() -> None:
    measured = Meter("cpu", Length(1, 1), images=64)
    measured.step()
    with pytest.raises(RuntimeError, match="the loop ended after 1 of 29 steps"):
        measured.row()
