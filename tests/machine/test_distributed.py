import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from runner.errors import RunnerError
from runner.machine.distributed import ALONE, World, joined


@given(samples=st.integers(0, 50), size=st.integers(1, 9))
def test_shares_partition_the_batch_and_differ_by_at_most_one(samples: int, size: int) -> None:
    shares = [World(rank, size).share(torch.arange(samples)) for rank in range(size)]
    assert torch.cat(shares).tolist() == list(range(samples))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_gradients_are_summed_in_place_in_one_message(twins: list[Tensor]) -> None:
    tensors = [
        torch.tensor(1.5),
        torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.tensor([1 + 2j, 3j]),
        torch.ones(3, dtype=torch.float64),
    ]
    parameters = [nn.Parameter(torch.empty_like(tensor)) for tensor in tensors]
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = tensor.clone()
    grads = [parameter.grad for parameter in parameters]
    without = nn.Parameter(torch.ones(1))
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    World(0, 2).add_up_gradients([*parameters, without, frozen])
    assert frozen.grad is None
    assert without.grad == 0  # another rank may have one
    assert len(twins) == 1
    for parameter, grad, tensor in zip(parameters, grads, tensors, strict=True):
        assert parameter.grad is grad
        assert grad is not None
        assert torch.equal(grad, 2 * tensor)


def test_totals_are_exact(twins: list[Tensor]) -> None:
    assert World(1, 2).totals([0.1, 2**40 + 1, 0]) == [0.2, 2**41 + 2, 0]
    assert twins[0].device.type == "cpu"
    assert World(1, 2).any(True)
    assert not World(1, 2).any(False)


def test_single_process_does_not_communicate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", None)
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    with joined(torch.device("cpu")) as world:
        assert world is ALONE
        world.add_up_gradients([weight])
        world.align(nn.BatchNorm1d(2))
        assert weight.grad.tolist() == [1, 1]
        assert world.totals([1, 2.5]) == [1, 2.5]
        assert (world.any(True), world.any(False)) == (True, False)
        assert (world.gather("mine"), world.broadcast("mine")) == ([], "mine")
        assert (world.leads, world.salt) == (True, ())


def test_salt_differs_between_ranks() -> None:
    assert [World(rank, 3).salt for rank in range(3)] == [(), (1,), (2,)]


def test_communication_errors_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(message: Tensor) -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1\nstack")

    monkeypatch.setattr(dist, "all_reduce", fail)
    with pytest.raises(RunnerError, match=r"cannot communicate .*: Connection closed by peer"):
        World(0, 2).totals([1])
