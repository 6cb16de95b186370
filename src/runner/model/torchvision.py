"""Classification models from torchvision."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from runner.errors import nearest
from runner.registry import MODELS


def suits_channels_last(values: Mapping[str, Any], device: str) -> bool:
    """Return whether the channels-last memory format suits a model: a convolutional one on an NVIDIA GPU.

    On a CPU, it depends on model and image size: a step of ResNet-18 takes 5 to 30% longer with it for images of 32x32.

    Args:
        values: values of the model in the config.
        device: type of the device.
    """
    return device == "cuda" and not str(values.get("arch")).startswith(("vit", "swin", "maxvit"))


@MODELS.register("torchvision", channels_last=suits_channels_last)
def torchvision_model(
    in_shape: tuple[int, ...], out_features: int, arch: str = "resnet18", weights: str | None = None
) -> nn.Module:
    """Classification model from torchvision, adapted to the dataset's channels and classes.

    The `state_dict` keys are torchvision's. If the images do not have three channels, the first convolution is
    replaced. The auxiliary classifiers of Inception and GoogLeNet are disabled.

    Args:
        in_shape: shape (C, H, W) of one image.
        out_features: number of classes.
        arch: name of the model in torchvision, such as resnet18 or vit_b_16.
        weights: must be None; `init.from=torchvision:NAME` starts from pretrained weights.

    Shapes:
        Input: images [B, C, H, W].
        Output: logits [B, out_features].

    Raises:
        ValueError: `arch` is unknown, or does not support the image size.
        ValueError: `weights` is not None.
        ValueError: `in_shape` is not (C, H, W).

    Source:
        https://pytorch.org/vision/stable/models.html#classification links the paper of each model.
    """
    from runner.vision import torchvision  # imported only here, because it takes about a second

    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        raise ValueError(f"torchvision has no classification model {arch!r}; {nearest(arch, known)}")
    if weights is not None:
        raise ValueError(f"weights: found {weights!r}, allowed: null; instead: init.from=torchvision:{weights}")
    if len(in_shape) != 3:
        raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
    # RegNet computes its layer widths with tensors, which have no values on the meta device.
    device = torch.get_default_device()
    with torch.device("cpu" if arch.startswith("regnet") else device):
        try:
            model: nn.Module = torchvision.models.get_model(arch, num_classes=out_features, **extras(arch, in_shape))
        except (AssertionError, ValueError) as error:
            raise ValueError(f"{arch} does not support {in_shape[1]}x{in_shape[2]} images: {error}") from error
        adapt_channels(model, in_shape[0])
    return model.to(device)


def extras(arch: str, in_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments that some model families need besides the number of classes.

    Raises:
        ValueError: `arch` is a vision transformer and the image is not square.
    """
    _, height, width = in_shape
    if arch in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}  # torchvision warns unless init_weights is given
    if arch.startswith("vit"):
        if height != width:
            raise ValueError("the image must be square")
        return {"image_size": height}
    if arch.startswith("maxvit"):
        return {"input_size": (height, width)}
    return {}


def adapt_channels(model: nn.Module, channels: int) -> None:
    """Replace the first convolution, unless it already has the given number of input channels."""
    name, old = next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    if old.in_channels == channels:
        return
    arguments = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    model.set_submodule(name, nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **arguments))
