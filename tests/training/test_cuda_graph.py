from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import checkpoint
from runner.config.schema import Config
from runner.errors import ConfigError, RunnerError
from runner.training.build import build
from runner.training.check import check
from runner.training.cuda_graph import record


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Replace graph capture with plain calls of the model, and return the batches that use the graph."""
    seen: list[Tensor] = []

    def make(module: nn.Module, sample: tuple[Tensor, ...]) -> Callable[[Tensor], Any]:
        module(torch.rand_like(sample[0]))  # warmup, as in torch

        def recorded(inputs: Tensor) -> Any:
            seen.append(inputs)
            return module(inputs)

        return recorded

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    return seen


def test_only_full_batches_use_the_graph(tiny: Callable[..., Config], recordings: list[Tensor]) -> None:
    parts = build(tiny())
    forward, full, part = record(parts), torch.rand(256, 1, 8, 8), torch.rand(15, 1, 8, 8)
    for inputs in full, part:
        torch.testing.assert_close(forward(inputs), parts.model(inputs))
    assert [len(inputs) for inputs in recordings] == [256]


def test_capture_restores_model_and_random_state(tiny: Callable[..., Config], recordings: list[Tensor]) -> None:
    parts = build(tiny("model.norm=batch"))
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    torch.manual_seed(0)
    random = torch.rand(3)
    torch.manual_seed(0)
    record(parts)
    assert torch.equal(torch.rand(3), random)
    after = parts.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_capture_error_is_reported(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    parts = build(tiny())
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    with pytest.raises(RunnerError, match=r"trainer.cuda_graph: model=mlp cannot be captured: operation not permitted"):
        record(parts)


def test_cuda_graph_without_gpu_raises(tiny: Callable[..., Config]) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer.cuda_graph: found true, which needs an NVIDIA GPU; the device is cpu"
    ):
        check(tiny("trainer.cuda_graph=true", "device=cpu"))


def test_evaluation_without_gpu_is_allowed(tiny: Callable[..., Config]) -> None:
    check(tiny("trainer.cuda_graph=true", "device=cpu"), trains=False)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("trainer.accumulate=2", r"trainer.accumulate=2: each batch overwrites the gradients"),
        ("trainer.compile=true", r"trainer.compile=true"),
    ],
)
def test_incompatible_settings_raise(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, override: str, reason: str
) -> None:
    monkeypatch.setattr("runner.training.check.resolve", lambda name: torch.device("cuda"))
    with pytest.raises(ConfigError, match=f"trainer.cuda_graph: found true, which cannot be combined with {reason}"):
        check(tiny("trainer.cuda_graph=true", override))


def test_replaced_buffer_raises(tiny: Callable[..., Config], recordings: list[Tensor]) -> None:
    class Counting(nn.Flatten):
        batches: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("batches", torch.zeros(()), persistent=False)

        def forward(self, inputs: Tensor) -> Tensor:
            self.batches = self.batches + 1
            return super().forward(inputs)

    parts = build(tiny())
    parts.model = Counting()
    with pytest.raises(RunnerError, match="cannot be captured: a buffer is replaced instead of updated in place"):
        record(parts)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_on_gpu_matches_eager_mode(runner: Callable[..., Path], precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    shared = ["device=cuda", f"trainer.precision={precision}", "model.norm=batch", "trainer.epochs=3"]
    plain, recorded = (checkpoint(runner(*shared, f"trainer.cuda_graph={graph}")) for graph in ("false", "true"))
    for name, tensor in plain["model"].items():
        torch.testing.assert_close(recorded["model"][name], tensor, rtol=1e-2, atol=1e-3)
