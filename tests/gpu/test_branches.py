from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest
import torch

from gpu import branches
from gpu.branches import STEPS, WAYS, Models, alone, compare
from gpu.graphs import WARM_UP, capture


@pytest.mark.parametrize(("way", "equal"), [(way, "stacked" not in way) for way in WAYS])
def test_models_trained_together_equal_those_trained_alone(way: str, equal: bool) -> None:
    row = branches.measure(WAYS[way], 3, 8, "cpu")
    assert row["µs/step"] > 0
    assert row["largest difference"] <= (0 if equal else 1e-6)
    assert not equal or row["models with equal bits"] == "3 of 3"


def test_training_changes_all_models() -> None:
    models, untrained = Models(2, 8, "cpu"), Models(2, 8, "cpu").weights()
    step = alone(models)
    for _ in range(STEPS - WARM_UP):
        step()
    row = compare(models.weights(), untrained)
    assert row["models with equal bits"] == "0 of 2"
    assert row["largest difference"] > 1e-4


class Stream:
    """A stand-in for a stream of CUDA, which records who waits for whom, and what runs on it."""

    log: ClassVar[list[tuple[Any, ...]]] = []
    current: ClassVar["Stream"]

    def __init__(self, priority: int = 0) -> None:
        self.cuda_stream, self.priority = id(self), priority

    def wait_stream(self, other: "Stream") -> None:
        Stream.log.append(("waits", self, other))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[Stream]:
    """Replace streams and graphs of CUDA with stand-ins that run everything at once."""

    @contextmanager
    def on(stream: Stream) -> Any:
        before, Stream.current = Stream.current, stream
        yield
        Stream.current = before

    class Graph:
        def replay(self) -> None:
            Stream.log.append(("replays",))

    def recording(graph: Graph, stream: Stream) -> AbstractContextManager[None]:
        Stream.log.append(("captures", stream))
        return on(stream)

    Stream.log.clear()
    Stream.current = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream.current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return Stream


def test_function_is_called_before_its_capture_on_the_same_stream(cuda: type[Stream]) -> None:
    calls: list[Stream] = []
    replay = capture(lambda: calls.append(Stream.current), "cuda")
    assert len(calls) == WARM_UP + 1
    assert set(calls) == {next(entry[1] for entry in cuda.log if entry[0] == "captures")}
    replay()
    assert cuda.log[-1] == ("replays",)
    assert len(calls) == WARM_UP + 1


def test_branches_begin_and_end_on_the_stream_of_the_graph(cuda: type[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(3, 4, "cpu")
    models.device = "cuda"  # for the way of the code, but not for the tensors
    monkeypatch.setattr(Models, "step", lambda self, index: lambda: cuda.log.append(("runs", index, Stream.current)))
    branches.branches(models)
    captured = next(index for index, entry in enumerate(cuda.log) if entry[0] == "captures")
    main, after = cuda.log[captured][1], cuda.log[captured + 1 :]
    forks, runs, joins = after[:3], after[3:6], after[6:]
    streams = [entry[1] for entry in forks]
    assert forks == [("waits", stream, main) for stream in streams]
    assert runs == [("runs", index, stream) for index, stream in enumerate(streams)]
    assert joins == [("waits", main, stream) for stream in streams]
    assert main not in streams
    assert main.priority not in [stream.priority for stream in streams]


def test_64_branches_have_a_stream_each(cuda: type[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    pools: dict[int, int] = {}

    def from_pool(stream: Stream, priority: int = 0) -> None:  # as torch hands them out: 32 for each priority
        pools[priority] = pools.get(priority, -1) + 1
        stream.cuda_stream, stream.priority = 100 * priority + pools[priority] % 32, priority

    monkeypatch.setattr(Stream, "__init__", from_pool)
    monkeypatch.setattr(Models, "step", lambda self, index: lambda: None)
    models = Models(1, 4, "cpu")
    models.device, models.models = "cuda", models.models * 64
    branches.branches(models)
    monkeypatch.setattr(branches, "PER_PRIORITY", 64)
    with pytest.raises(RuntimeError, match="two branches have the same stream"):
        branches.branches(models)


def test_without_cuda_the_function_is_called_as_often() -> None:
    calls: list[int] = []
    step = capture(lambda: calls.append(1), "cpu")
    assert len(calls) == WARM_UP
    step()
    assert len(calls) == WARM_UP + 1
