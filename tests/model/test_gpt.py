from math import log, sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.model.gpt import GPT, Block
from runner.registry import MODELS

TOKENS = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(0))


def small(**values: Any) -> GPT:
    """Return a model whose weights are large enough for every token to influence the logits."""
    torch.manual_seed(0)
    model = GPT((8,), 11, 11, **{"depth": 2, "heads": 2, "width": 12, **values})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def attention(block: Block, x: Tensor) -> Tensor:
    """Compute causal attention head by head and token by token."""
    size = x.shape[2] // block.heads
    query, key, value = (x @ block.qkv.weight.T + block.qkv.bias).chunk(3, dim=2)
    mixed = torch.zeros_like(x)
    for head in range(block.heads):
        part = slice(head * size, (head + 1) * size)
        for time in range(x.shape[1]):
            past = slice(0, time + 1)
            scores = torch.einsum("bd,btd->bt", query[:, time, part], key[:, past, part]) / sqrt(size)
            mixed[:, time, part] = torch.einsum("bt,btd->bd", scores.softmax(1), value[:, past, part])
    return mixed @ block.project.weight.T + block.project.bias


def test_forward_matches_explicit_attention() -> None:
    model = small().double()
    x = model.tokens.weight[TOKENS] + model.positions.weight
    for block in model.blocks:
        assert isinstance(block, Block)
        x = x + attention(block, block.norm1(x))
        x = x + block.contract(F.gelu(block.expand(block.norm2(x))))
    torch.testing.assert_close(model(TOKENS), model.norm(x) @ model.tokens.weight.T)


@pytest.mark.parametrize("changed", [1, 4, 7])
def test_logits_depend_on_no_later_token(changed: int) -> None:
    model, other = small(), TOKENS.clone()
    other[:, changed] = (other[:, changed] + 1) % 11
    before, after = model(TOKENS), model(other)
    torch.testing.assert_close(before[:, :changed], after[:, :changed])
    difference = (before - after).abs().amax((0, 2))
    assert (difference[changed:] > 1e-3).all()


@pytest.mark.parametrize("length", [1, 5, 8])
def test_accepts_any_length_up_to_in_shape(length: int) -> None:
    model = small()
    found = model(TOKENS[:, :length])
    assert found.shape == (3, length, 11)
    torch.testing.assert_close(found, model(TOKENS)[:, :length])


def test_longer_input_raises() -> None:
    with pytest.raises(ValueError, match="needs at most 8 tokens, found 9"):
        small()(torch.zeros(2, 9, dtype=torch.long))


def test_output_layer_is_the_token_embedding() -> None:
    model = GPT((8,), 11, 11, depth=2, heads=2, width=12)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert [name for name, shape in shapes.items() if 11 in shape] == ["tokens.weight"]
    assert shapes["positions.weight"] == (8, 12)
    block = 12 * 36 + 36 + 12 * 12 + 12 + 12 * 48 + 48 + 48 * 12 + 12 + 4 * 12
    assert sum(parameter.numel() for parameter in model.parameters()) == 11 * 12 + 8 * 12 + 2 * block + 2 * 12


def test_projections_into_the_sum_start_smaller() -> None:
    torch.manual_seed(0)
    model = GPT((64,), 100, 100, depth=8, heads=4, width=128)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            wanted = 0.005 if "project" in name or "contract" in name else 0.02
            assert parameter.std().item() == pytest.approx(wanted, rel=0.05), name


def test_first_predictions_are_nearly_uniform() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(50, (64, 9))
    loss = F.cross_entropy(GPT((8,), 50, 50)(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(log(50), abs=0.1)


def test_dropout_is_active_in_training_only() -> None:
    model = small(dropout=0.5)
    assert not torch.equal(model(TOKENS), model(TOKENS))
    model.eval()
    assert torch.equal(model(TOKENS), model(TOKENS))
    torch.testing.assert_close(model(TOKENS), small()(TOKENS))


def test_dropout_covers_the_embeddings_and_all_that_is_added() -> None:
    logits = small(dropout=1.0)(TOKENS)
    assert (logits == logits[0, 0]).all()


def test_dropout_covers_the_attention_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    def attend(query: Tensor, key: Tensor, value: Tensor, is_causal: bool, dropout_p: float) -> Tensor:
        found.append(dropout_p)
        return value

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    model = small(dropout=0.5)
    model(TOKENS)
    model.eval()(TOKENS)
    assert found == [0.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"in_shape": (1, 8, 8)}, r"needs tokens of shape \(T,\), found \(1, 8, 8\)"),
        ({"out_features": 10}, "predicts one of vocab_size=11 tokens, found out_features=10"),
        ({"depth": 0}, "depth, heads and width must be at least 1, found 0, 4 and 128"),
        ({"heads": 0}, "depth, heads and width must be at least 1, found 4, 0 and 128"),
        ({"width": 0}, "depth, heads and width must be at least 1, found 4, 4 and 0"),
        ({"heads": 3}, "width must be divisible by heads, found width=128 and heads=3"),
        ({"dropout": 1.5}, "dropout probability has to be between 0 and 1"),
    ],
)
def test_invalid_arguments_raise(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GPT(**{"in_shape": (8,), "out_features": 11, "vocab_size": 11, **values})


def test_builds_from_registry_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = MODELS.build("gpt", {"depth": 1}, in_shape=(8,), out_features=11, vocab_size=11)
        assert isinstance(model, GPT)
        assert model(torch.zeros(2, 8, dtype=torch.long)).shape == (2, 8, 11)


@pytest.mark.slow
def test_learns_to_repeat() -> None:
    torch.manual_seed(0)
    model = GPT((16,), 10, 10, depth=2, heads=2, width=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(400):
        optimizer.zero_grad()
        tokens = torch.randint(10, (64, 8)).repeat(1, 2)  # the second half repeats the first
        loss = F.cross_entropy(model(tokens)[:, 8:-1].flatten(0, 1), tokens[:, 9:].flatten())
        loss.backward()
        optimizer.step()
    assert loss < 0.3
