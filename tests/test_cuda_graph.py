from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import checkpoint
from runner.build import build
from runner.check import check
from runner.cuda_graph import record
from runner.errors import ConfigError
from runner.settings import Config


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """In place of what torch records on a GPU: the model itself; the batches that go through it are kept."""
    seen: list[Tensor] = []

    def make(module: nn.Module, sample: tuple[Tensor, ...]) -> Callable[[Tensor], Any]:
        module(torch.ones_like(sample[0]))  # as torch does first, to warm up

        def recorded(inputs: Tensor) -> Any:
            seen.append(inputs)
            return module(inputs)

        return recorded

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    return seen


def test_full_batches_are_recorded_and_others_go_through_the_model(
    tiny: Callable[..., Config], recordings: list[Tensor]
) -> None:
    exp = build(tiny())
    forward, full, part = record(exp), torch.rand(256, 1, 8, 8), torch.rand(15, 1, 8, 8)
    for inputs in full, part:
        torch.testing.assert_close(forward(inputs), exp.model(inputs))
    assert [len(inputs) for inputs in recordings] == [256]


def test_the_model_is_as_before(tiny: Callable[..., Config], recordings: list[Tensor]) -> None:
    exp = build(tiny("model.norm=batch"))
    before = {name: tensor.clone() for name, tensor in exp.model.state_dict().items()}
    record(exp)
    after = exp.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_model_that_cannot_be_recorded_is_told(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    exp = build(tiny())
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    with pytest.raises(ConfigError, match=r"trainer.cuda_graph: model=mlp cannot be recorded: operation not permitted"):
        record(exp)


def test_without_a_gpu_it_is_refused(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"trainer.cuda_graph: found true, which needs an NVIDIA GPU; device=cpu"):
        check(tiny("trainer.cuda_graph=true", "device=cpu"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_it_trains_to_the_same(runner: Callable[..., Path], precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    shared = ["device=cuda", f"trainer.precision={precision}", "model.norm=batch", "trainer.epochs=3"]
    plain, recorded = (checkpoint(runner(*shared, f"trainer.cuda_graph={graph}")) for graph in ("false", "true"))
    for name, tensor in plain["model"].items():
        torch.testing.assert_close(recorded["model"][name], tensor, rtol=1e-2, atol=1e-3)
