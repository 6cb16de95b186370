from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from runner.dataset.tree import at, is_tree, map_tensors, samples, take, tensors

ONE, TWO = torch.arange(6.0).view(3, 2), torch.arange(3)


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


def test_structure_is_kept() -> None:
    doubled = map_tensors(lambda tensor: 2 * tensor, {"a": ONE, "b": (TWO, Pair(ONE, TWO))})
    assert isinstance(doubled["b"][1], Pair)
    assert torch.equal(doubled["b"][1].right, 2 * TWO)
    assert [tensor.shape for tensor in tensors(doubled)] == [(3, 2), (3,), (3, 2), (3,)]


def test_several_trees_are_mapped_together() -> None:
    summed = map_tensors(torch.add, (ONE, {"a": TWO}), (ONE, {"a": TWO}))
    assert torch.equal(summed[1]["a"], 2 * TWO)


def test_samples_are_counted_and_taken() -> None:
    tree = {"a": ONE, "b": TWO}
    assert samples(tree) == 3
    assert take(tree, torch.tensor([2, 0]))["b"].tolist() == [2, 0]
    assert at(tree, 1)["a"].tolist() == [2, 3]
    assert at([5, 6, 7], 2) == torch.tensor(7)
    with pytest.raises(ValueError, match="found list"):
        samples([])


@pytest.mark.parametrize(
    ("value", "expected"), [(ONE, True), ((ONE, TWO), True), ({"a": (ONE,)}, True), ([ONE], False), ({}, False)]
)
def test_lists_and_objects_are_not_trees(value: object, expected: bool) -> None:
    assert is_tree(value) is expected
