import pytest
import torch
from torch import nn

from runner.model.torchvision import torchvision_model
from runner.registry import MODELS


def shape_on_meta(arch: str, in_shape: tuple[int, ...], out_features: int) -> tuple[int, ...]:
    with torch.device("meta"), torch.inference_mode():
        model = MODELS.build("torchvision", {"arch": arch}, in_shape=in_shape, out_features=out_features)
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
        return tuple(model(torch.empty(2, *in_shape)).shape)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "vgg11", "vit_b_32", "regnet_y_400mf"])
@pytest.mark.parametrize("in_shape", [(1, 32, 32), (3, 64, 64)])
def test_is_adapted_to_channels_and_classes(arch: str, in_shape: tuple[int, ...]) -> None:
    assert shape_on_meta(arch, in_shape, 7) == (2, 7)


@pytest.mark.slow
def test_every_classification_model_is_adapted() -> None:
    from runner.vision import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    assert {"inception_v3", "googlenet", "maxvit_t", "swin_t", "convnext_tiny"} < set(known)
    shapes = {arch: shape_on_meta(arch, (2, *(2 * [299 if arch == "inception_v3" else 224])), 7) for arch in known}
    assert shapes == dict.fromkeys(known, (2, 7))


def test_is_torchvisions_own_model() -> None:
    from runner.vision import torchvision

    torch.manual_seed(0)
    model = torchvision_model((3, 32, 32), 10)
    torch.manual_seed(0)
    expected = torchvision.models.resnet18(num_classes=10)
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(values, expected.state_dict()[key]) for key, values in model.state_dict().items())


def test_the_first_convolution_changes_in_its_channels_alone() -> None:
    with torch.device("meta"):
        three, one = torchvision_model((3, 32, 32), 10), torchvision_model((1, 32, 32), 10)
    assert isinstance(three.conv1, nn.Conv2d)
    assert isinstance(one.conv1, nn.Conv2d)
    assert str(one.conv1) == str(three.conv1).replace("(3, 64", "(1, 64")
    shapes = [
        {key: value.shape for key, value in each.state_dict().items() if key != "conv1.weight"} for each in (three, one)
    ]
    assert shapes[0] == shapes[1]


def test_auxiliary_outputs_are_off_in_training_too() -> None:
    with torch.device("meta"):
        model = torchvision_model((3, 96, 96), 10, arch="googlenet")
        assert model.train()(torch.empty(2, 3, 96, 96)).shape == (2, 10)


@pytest.mark.parametrize(
    ("arch", "in_shape", "problem"),
    [
        ("resnet19", (3, 32, 32), "no classification model 'resnet19'; allowed: .* Did you mean resnet18."),
        ("raft_large", (3, 32, 32), "no classification model 'raft_large'; "),  # torchvision's, but no classifier
        ("resnet18", (64,), r"needs images of shape \(C, H, W\), found \(64,\)"),
        ("vit_b_16", (3, 40, 40), "vit_b_16 refuses images of 40x40: Input shape indivisible by patch size"),
        ("vit_b_16", (3, 32, 48), "vit_b_16 refuses images of 32x48: the image must be square"),
        ("maxvit_t", (3, 32, 32), "maxvit_t refuses images of 32x32: Input size .* is not divisible"),
    ],
)
def test_what_does_not_fit_is_refused(arch: str, in_shape: tuple[int, ...], problem: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=problem):
        torchvision_model(in_shape, 10, arch=arch)


def test_trained_weights_are_not_downloaded() -> None:
    with pytest.raises(ValueError, match=r"trained weights \(DEFAULT\) are not downloaded"):
        torchvision_model((3, 32, 32), 10, weights="DEFAULT")
