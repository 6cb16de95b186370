import pytest
import torch
import torch.nn.functional as F

from runner.model.mnist_cnn import MnistCNN
from runner.registry import MODELS


def test_layers_match_pytorch_example() -> None:
    model = MODELS.build("mnist_cnn", {}, in_shape=(1, 28, 28), out_features=10)
    assert {name: tuple(parameter.shape) for name, parameter in model.named_parameters()} == {
        "conv1.weight": (32, 1, 3, 3),
        "conv1.bias": (32,),
        "conv2.weight": (64, 32, 3, 3),
        "conv2.bias": (64,),
        "fc1.weight": (128, 9216),
        "fc1.bias": (128,),
        "fc2.weight": (10, 128),
        "fc2.bias": (10,),
    }
    assert (model.dropout1.p, model.dropout2.p) == (0.25, 0.5)


def test_computes_log_probabilities() -> None:
    model = MnistCNN((1, 28, 28), 10).eval()
    w1, b1, w2, b2, w3, b3, w4, b4 = model.parameters()
    images = torch.rand(4, 1, 28, 28)
    x = F.conv2d(images, w1, b1).clamp(min=0)
    x = F.max_pool2d(F.conv2d(x, w2, b2).clamp(min=0), 2)
    x = (x.reshape(4, -1) @ w3.T + b3).clamp(min=0)
    probabilities = (x @ w4.T + b4).softmax(1)
    torch.testing.assert_close(model(images), probabilities.log())


def test_both_dropouts_are_active_in_training() -> None:
    model, images = MnistCNN((1, 8, 8), 10), torch.rand(4, 1, 8, 8)
    for dropout, other in [(model.dropout1, model.dropout2), (model.dropout2, model.dropout1)]:
        dropout.train()
        other.eval()
        assert not torch.equal(model(images), model(images))


@pytest.mark.parametrize("in_shape", [(3, 32, 32), (1, 6, 6), (2, 9, 14)])
def test_accepts_any_image_size_and_channels(in_shape: tuple[int, ...]) -> None:
    assert MnistCNN(in_shape, 7)(torch.rand(2, *in_shape)).shape == (2, 7)


def test_invalid_input_shape_raises() -> None:
    with pytest.raises(ValueError, match="needs images of at least 6x6, found 12x5"):
        MnistCNN((1, 12, 5), 10)
    with pytest.raises(ValueError, match=r"needs images of shape \(C, H, W\), found \(64,\)"):
        MnistCNN((64,), 10)
