"""torchvision's classification models, by name."""

from typing import Any

import torch
from torch import nn

from runner.errors import nearest
from runner.registry import MODELS


@MODELS.register("torchvision")
def torchvision_model(
    in_shape: tuple[int, ...], out_features: int, arch: str = "resnet18", weights: str | None = None
) -> nn.Module:
    """A classification model of torchvision, adapted to the dataset's channels and classes.

    The model is torchvision's own, so its `state_dict` has the names that torchvision gives; its papers are named at
    https://pytorch.org/vision/stable/models.html#classification. Where the images have not three channels, the first
    convolution is replaced by one for theirs. Auxiliary outputs (Inception, GoogLeNet) are off.

    Args:
        in_shape: channels, height and width of an image.
        out_features: number of classes.
        arch: torchvision's name of the model, such as resnet18 or vit_b_16.
        weights: null, which draws them at random; trained ones are not downloaded.

    Shapes:
        images [B, C, H, W] to logits [B, out_features].

    Raises:
        ValueError: arch is unknown, weights are asked for, the inputs are no images, or arch refuses their size.
    """
    from runner.vision import torchvision  # takes a second

    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        raise ValueError(f"torchvision has no classification model {arch!r}; {nearest(arch, known)}")
    if weights is not None:
        raise ValueError(f"trained weights ({weights}) are not downloaded; weights must be null")
    if len(in_shape) != 3:
        raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
    # RegNet computes its widths with tensors, which have no numbers on the meta device; the others are made in place.
    device = torch.get_default_device()
    with torch.device("cpu" if arch.startswith("regnet") else device):
        try:
            model: nn.Module = torchvision.models.get_model(arch, num_classes=out_features, **extras(arch, in_shape))
        except (AssertionError, ValueError) as error:
            raise ValueError(f"{arch} refuses images of {in_shape[1]}x{in_shape[2]}: {error}") from error
        adapt_channels(model, in_shape[0])
    return model.to(device)


def extras(arch: str, in_shape: tuple[int, ...]) -> dict[str, Any]:
    """What some families want to know beside the number of classes."""
    _, height, width = in_shape
    if arch in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}  # one output; and the weights of their papers, said aloud
    if arch.startswith("vit"):
        if height != width:
            raise ValueError("the image must be square")
        return {"image_size": height}
    if arch.startswith("maxvit"):
        return {"input_size": (height, width)}
    return {}


def adapt_channels(model: nn.Module, channels: int) -> None:
    """Replaces the first convolution by one that takes so many channels and is otherwise the same."""
    name, old = next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    if old.in_channels == channels:
        return
    arguments = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    model.set_submodule(name, nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **arguments))
