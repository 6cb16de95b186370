import torch
from torch import Tensor, nn

from runner.model.lenet import LeNet
from runner.tracking.summary import count_parameters, summarize


def summary(model: nn.Module, in_shape: tuple[int, ...]) -> str:
    device = next(model.parameters()).device
    return summarize(model, lambda: model(torch.zeros(2, *in_shape, device=device)))


def test_only_trainable_parameters_are_counted() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert count_parameters(model) == 3 * 4 + 4 + 4 + 4 + 4 * 2 + 2
    model[0].requires_grad_(False)
    assert count_parameters(model) == 4 + 4 + 4 * 2 + 2


def test_summary_has_a_line_for_each_layer_and_each_parameter() -> None:
    assert summary(nn.Sequential(nn.Flatten(), nn.Linear(4, 300)), (1, 2, 2)).splitlines() == [
        "Sequential",
        "",
        "layer  kind     output    parameters",
        "0      Flatten  (B, 4)             0",
        "1      Linear   (B, 300)       1,500",
        "",
        "parameter  shape       numbers",
        "1.weight   (300, 4)      1,200",
        "1.bias     (300,)          300",
        "",
        "1,500 trainable parameters",
    ]


def test_lenet_has_the_published_number_of_parameters() -> None:
    text = summary(LeNet((1, 32, 32), 10), (1, 32, 32))
    assert "conv2  Conv2d     (B, 16, 10, 10)       2,416" in text
    assert text.endswith("61,706 trainable parameters\n")


def test_model_is_not_changed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    summary(model, (4,))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert drawn == torch.rand(1)


def test_model_is_restored_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    try:
        summary(model, (5,))
    except RuntimeError:
        assert model.training
        assert not model[0]._forward_hooks
    else:
        raise AssertionError("a wrong shape was accepted")


def test_model_on_meta_device_can_be_summarized() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10_000, 10_000))
    assert "100,010,000 trainable parameters" in summary(model, (10_000,))


def test_layers_that_return_a_tuple_or_are_not_called_are_listed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.unused = nn.LSTM(3, 5, batch_first=True), nn.Linear(1, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.lstm(inputs)[0]
            return outputs

    lines = [line.split() for line in summary(Odd(), (7, 3)).splitlines()]
    assert ["lstm", "LSTM", "(B,", "7,", "5)", "200"] in lines
    assert ["unused", "Linear", "2"] in lines
