import pytest
import torch
from torch import nn

from runner.model.torchvision import suits_channels_last, torchvision_model
from runner.registry import MODELS


def shape_on_meta(arch: str, in_shape: tuple[int, ...], out_features: int) -> tuple[int, ...]:
    with torch.device("meta"), torch.inference_mode():
        model = MODELS.build("torchvision", {"arch": arch}, in_shape=in_shape, out_features=out_features)
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
        if suits_channels_last({"arch": arch}, "cuda"):
            model.to(memory_format=torch.channels_last)
        return tuple(model(torch.empty(2, *in_shape)).shape)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "vgg11", "vit_b_32", "regnet_y_400mf"])
@pytest.mark.parametrize("in_shape", [(1, 32, 32), (3, 64, 64)])
def test_adapts_to_channels_and_classes(arch: str, in_shape: tuple[int, ...]) -> None:
    assert shape_on_meta(arch, in_shape, 7) == (2, 7)


@pytest.mark.slow
def test_adapts_every_classification_model() -> None:
    from runner.vision import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    assert {"inception_v3", "googlenet", "maxvit_t", "swin_t", "convnext_tiny"} < set(known)
    shapes = {arch: shape_on_meta(arch, (2, *(2 * [299 if arch == "inception_v3" else 224])), 7) for arch in known}
    assert shapes == dict.fromkeys(known, (2, 7))


@pytest.mark.parametrize(
    ("arch", "expected"),
    [("resnet18", True), ("convnext_tiny", True), ("vit_b_16", False), ("swin_v2_t", False), ("maxvit_t", False)],
)
def test_channels_last_suits_convolutional_models_on_a_gpu(arch: str, expected: bool) -> None:
    assert suits_channels_last({"arch": arch}, "cuda") is expected
    assert not suits_channels_last({"arch": arch}, "cpu")


def test_equals_torchvision_model() -> None:
    from runner.vision import torchvision

    torch.manual_seed(0)
    model = torchvision_model((3, 32, 32), 10)
    torch.manual_seed(0)
    expected = torchvision.models.resnet18(num_classes=10)
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(values, expected.state_dict()[key]) for key, values in model.state_dict().items())


def test_only_input_channels_of_first_convolution_change() -> None:
    with torch.device("meta"):
        three, one = torchvision_model((3, 32, 32), 10), torchvision_model((1, 32, 32), 10)
    assert isinstance(three.conv1, nn.Conv2d)
    assert isinstance(one.conv1, nn.Conv2d)
    assert str(one.conv1) == str(three.conv1).replace("(3, 64", "(1, 64")
    shapes = [
        {key: value.shape for key, value in each.state_dict().items() if key != "conv1.weight"} for each in (three, one)
    ]
    assert shapes[0] == shapes[1]


def test_auxiliary_outputs_are_disabled_in_training() -> None:
    with torch.device("meta"):
        model = torchvision_model((3, 96, 96), 10, arch="googlenet")
        assert model.train()(torch.empty(2, 3, 96, 96)).shape == (2, 10)


@pytest.mark.parametrize(
    ("arch", "in_shape", "problem"),
    [
        ("resnet19", (3, 32, 32), "no classification model 'resnet19'; allowed: .* Did you mean resnet18."),
        ("raft_large", (3, 32, 32), "no classification model 'raft_large'; "),  # in torchvision, but not a classifier
        ("resnet18", (64,), r"needs images of shape \(C, H, W\), found \(64,\)"),
        ("vit_b_16", (3, 40, 40), "vit_b_16 does not support 40x40 images: Input shape indivisible by patch size"),
        ("vit_b_16", (3, 32, 48), "vit_b_16 does not support 32x48 images: the image must be square"),
        ("maxvit_t", (3, 32, 32), "maxvit_t does not support 32x32 images: Input size .* is not divisible"),
    ],
)
def test_unsupported_arguments_raise(arch: str, in_shape: tuple[int, ...], problem: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=problem):
        torchvision_model(in_shape, 10, arch=arch)


def test_pretrained_weights_raise() -> None:
    with pytest.raises(ValueError, match=r"found 'DEFAULT', .* instead: init.from=torchvision:DEFAULT"):
        torchvision_model((3, 32, 32), 10, weights="DEFAULT")
