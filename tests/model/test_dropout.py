import pytest
import torch
from torch import Tensor, nn

from runner.model.dropout import Dropout


def drop(p: float, inputs: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    outputs: Tensor = Dropout(p)(inputs)
    return outputs


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropped_share_is_p_everywhere_and_the_mean_stays(p: float) -> None:
    outputs = drop(p, torch.ones(400, 500))
    dropped = outputs == 0
    assert dropped.float().mean().item() == pytest.approx(p, abs=0.005)
    assert dropped.float().mean(0).var() < 2 * p * (1 - p) / 400  # no column deviates more than by chance
    assert outputs[~dropped].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    assert outputs.mean().item() == pytest.approx(1, abs=0.05)


def test_neighboring_values_are_dropped_independently() -> None:
    left, right = (drop(0.5, torch.ones(1_000_000)) == 0).float().view(-1, 2).unbind(1)
    for first, second in ((left, right), (left[:-1], left[1:]), (right[:-1], left[1:])):
        assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 0.01


def test_gradient_is_scaled_like_the_outputs() -> None:
    inputs = torch.rand(50, 7, requires_grad=True)
    outputs = drop(0.3, inputs)
    outputs.sum().backward()
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad * inputs, outputs)


@pytest.mark.parametrize("shape", [(3,), (5, 7), (2, 3, 4, 5)])
def test_same_seed_drops_the_same_values(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(shape)
    assert torch.equal(drop(0.5, inputs), drop(0.5, inputs))
    assert not torch.equal(drop(0.5, torch.ones(100)), drop(0.5, torch.ones(100), seed=1))


def test_memory_format_and_dtype_are_kept() -> None:
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert drop(0.5, images).is_contiguous(memory_format=torch.channels_last)
    assert drop(0.5, images.bfloat16()).dtype == torch.bfloat16
    assert drop(0.5, torch.rand(4, 6)[:, ::2]).shape == (4, 3)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_p_of_zero_and_one_match_torch(p: float) -> None:
    inputs = torch.rand(10)
    assert torch.equal(drop(p, inputs), nn.Dropout(p)(inputs))


def test_eval_mode_returns_the_inputs() -> None:
    inputs = torch.rand(10)
    assert Dropout(0.5).eval()(inputs) is inputs
