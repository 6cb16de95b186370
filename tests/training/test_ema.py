import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from runner.training.ema import MovingAverage


def trained(model: nn.Module, steps: int, *averages: MovingAverage | AveragedModel) -> None:
    optimizer, generator = torch.optim.SGD(model.parameters(), lr=0.1), torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 3, generator=generator)).square().sum().backward()
        optimizer.step()
        for average in averages:
            average.update(model) if isinstance(average, MovingAverage) else average.update_parameters(model)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name])


def test_equals_torch_averaged_model() -> None:
    network = model()
    ours, torchs = MovingAverage(network, 0.9), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    trained(network, 5, ours, torchs)
    same(ours.module.state_dict(), torchs.module.state_dict())
    assert not torch.equal(next(ours.module.parameters()), next(network.parameters()))
    assert not any(parameter.requires_grad for parameter in ours.module.parameters())


def test_state_dict_round_trip() -> None:
    network = model()
    whole = MovingAverage(network, 0.9)
    trained(network, 3, whole)
    again = MovingAverage(network, 0.9)
    again.load_state_dict(whole.state_dict())
    trained(network, 2, whole, again)
    assert again.updates == whole.updates == 5
    same(again.module.state_dict(), whole.module.state_dict())


def test_integer_parameters_are_copied() -> None:
    network = model()
    count = nn.Parameter(torch.tensor([3]), requires_grad=False)
    network.register_parameter("count", count)
    average = MovingAverage(network, 0.9)
    count.data += 4
    average.update(network)
    average.update(network)
    assert dict(average.module.named_parameters())["count"].item() == 7


def test_weights_of_recurrent_layers_are_put_into_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    flattened: list[nn.Module] = []
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda layer: flattened.append(layer))
    network = nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 1))
    average = MovingAverage(network, 0.9)
    assert flattened == [network[0], average.module.get_submodule("0")]
