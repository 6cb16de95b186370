import pytest
import torch
from torch.autograd import profiler
from torch.profiler import profile

from runner.speed.labels import label_always, label_when_profiled


@pytest.fixture(autouse=True)
def _labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "record_function", profiler.record_function)  # restored after the test
    label_when_profiled()


def labels(work: torch.profiler.profile) -> set[str]:
    return {event.key for event in work.key_averages()}


def step() -> None:
    parameter = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_profile_contains_all_labels() -> None:
    with profile() as work:
        step()
        with torch.profiler.record_function("my own"):
            torch.ones(3).sum()
    assert {"Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad", "my own"} <= labels(work)


def test_no_label_without_profiler() -> None:
    with profiler.record_function("unused") as label:
        pass
    assert label.record is None


def test_label_may_be_open_when_profile_starts_or_stops() -> None:
    with profiler.record_function("before"):
        work = profile()
        work.start()
    with profiler.record_function("within"):
        work.stop()
    assert "before" not in labels(work)


def test_decorated_function_is_labeled() -> None:
    @profiler.record_function("decorated")
    def double(value: int) -> int:
        return 2 * value

    assert double(4) == 8
    with profile() as work:
        double(4)
    assert "decorated" in labels(work)


def test_label_always_restores_the_class() -> None:
    ours = profiler.record_function
    label_always()
    assert profiler.record_function is torch.profiler.record_function is not ours
