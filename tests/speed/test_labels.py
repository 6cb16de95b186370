import pytest
import torch
from torch.autograd import profiler
from torch.profiler import profile

from runner.speed.labels import label_always, label_when_profiled


@pytest.fixture(autouse=True)
def _labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "record_function", profiler.record_function)  # put back afterwards
    label_when_profiled()


def labels(work: torch.profiler.profile) -> set[str]:
    return {event.key for event in work.key_averages()}


def step() -> None:
    parameter = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_profile_has_the_labels_of_torch_and_ones_own() -> None:
    with profile() as work:
        step()
        with torch.profiler.record_function("my own"):
            torch.ones(3).sum()
    assert {"Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad", "my own"} <= labels(work)


def test_without_a_profiler_none_is_made() -> None:
    with profiler.record_function("nobody listens") as label:
        pass
    assert label.record is None


def test_a_label_that_was_open_when_the_profile_began_or_ended_does_no_harm() -> None:
    with profiler.record_function("before"):
        work = profile()
        work.start()
    with profiler.record_function("within"):
        work.stop()
    assert "before" not in labels(work)


def test_a_function_that_was_decorated_before_is_labelled_in_a_profile() -> None:
    @profiler.record_function("decorated")
    def double(value: int) -> int:
        return 2 * value

    assert double(4) == 8
    with profile() as work:
        double(4)
    assert "decorated" in labels(work)


def test_torchs_own_labels_come_back() -> None:
    ours = profiler.record_function
    label_always()
    assert profiler.record_function is torch.profiler.record_function is not ours
