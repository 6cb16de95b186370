"""Random transforms of single training images, from torchvision.transforms.v2.

They are applied when an image is read, usually by a worker.
"""

import inspect
import numbers
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, ClassVar

import torch
from torch import Tensor

from runner.config.schema import Component
from runner.data.sources import read
from runner.dataset.base import Readable
from runner.dataset.tree import at
from runner.errors import ConfigError, nearest
from runner.registry import check_values, typed

Transform = Callable[[Tensor], Tensor]
TRIALS = 8  # images that are transformed in a check
HIDDEN = ("inplace",)  # it would change the samples in memory
# Transforms with such a parameter need code, tensors or targets, and those with such a name take boxes or videos.
NEEDED = ("Callable", "torch.", "labels_getter")
OTHERS = ("Bound", "KeyPoints", "Clamping", "IoU", "Temporal", "FiveCrop", "TenCrop")
INSTEAD = {
    **dict.fromkeys(
        ("ToTensor", "ToImage", "ToDtype", "ToPureTensor", "PILToTensor", "ToPILImage", "ConvertImageDtype"),
        "images are tensors from the start: leave it out",
    ),
    "Normalize": "inputs are normalized after the transforms: leave it out",
    "MixUp": "use dataset.augment.mixup",
    "CutMix": "use dataset.augment.cutmix",
}


class Transformed:
    """Inputs that are transformed when they are read.

    The transforms draw from the global generators, which are seeded for each sample.

    Args:
        inputs: tensor [N, C, H, W], or an object that reads one image at a time.
        transforms: functions of an image [C, H, W], applied in this order.
    """

    draws: ClassVar[bool] = True

    def __init__(self, inputs: Tensor | Readable, transforms: Sequence[Transform]) -> None:
        self.inputs, self.transforms = inputs, transforms

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = at(self.inputs, index)
        for transform in self.transforms:
            image = transform(image)
        return image


def build_transforms(choices: Sequence[Component]) -> list[Transform]:
    """Build the transforms of a config.

    Raises:
        ConfigError: a transform does not exist, or its values are wrong; with one line for each problem.
    """
    built: list[Transform] = []
    problems: list[str] = []
    for index, choice in enumerate(choices):
        path = f"dataset.transforms[{index}]"
        try:
            built.append(_build(path, choice))
        except ConfigError as error:
            problems += error.problems
        except Exception as error:
            problems.append(f"{path}: {choice.name}: {error}")
    if problems:
        raise ConfigError(*problems)
    return built


def _build(path: str, choice: Component) -> Transform:
    """Build a transform.

    Raises:
        ConfigError: there is none of this name, or its values have the wrong types.
        Exception: torchvision refuses the values.
    """
    if choice.name in INSTEAD:
        raise ConfigError(f"{path}: found {choice.name!r}; {INSTEAD[choice.name]}")
    if choice.name not in known():
        raise ConfigError(f"{path}: found {choice.name!r}; {nearest(choice.name, known())}")
    allowed = parameters(known()[choice.name])
    required = [key for key, parameter in allowed.items() if parameter.default is parameter.empty]
    check_values(path, choice.values, allowed, required, choice.name)
    return known()[choice.name](**{key: typed(allowed[key], value) for key, value in choice.values.items()})


@cache
def known() -> Mapping[str, Callable[..., Transform]]:
    """Return the transforms of torchvision that a config can describe, by name."""
    from runner.vision import transforms  # imported only here, because it takes about a second

    classes: dict[str, Any] = {name: each for name, each in vars(transforms).items() if inspect.isclass(each)}
    return {
        name: each
        for name, each in classes.items()
        if issubclass(each, transforms.Transform)
        and each is not transforms.Transform
        and name not in INSTEAD
        and not any(word in name for word in OTHERS)
        and not any(word in str(inspect.signature(each)) for word in NEEDED)
    }


def parameters(transform: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a transform that a config may set."""
    signature = inspect.signature(transform, eval_str=True)
    return {
        key: parameter.replace(annotation=_with_floats(parameter.annotation))
        for key, parameter in signature.parameters.items()
        if key not in HIDDEN
    }


def _with_floats(annotation: Any) -> Any:
    """Return an annotation with float in place of numbers.Number, which no value of a config is an instance of."""
    if annotation is numbers.Number:
        return float
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return typing.Union[tuple(map(_with_floats, typing.get_args(annotation)))]  # noqa: UP007  # from a tuple
    return annotation


def try_transforms(transforms: Sequence[Transform], shape: tuple[int, ...]) -> None:
    """Transform some images of noise.

    Args:
        transforms: transforms to try.
        shape: shape of an image, (C, H, W).

    Raises:
        ConfigError: a transform fails, or the images change their type or shape.
    """
    noise = torch.randint(0, 256, (TRIALS, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for count in range(1, len(transforms) + 1):
        try:
            images = read(Transformed(noise, transforms[:count]), range(TRIALS), range(TRIALS))
        except Exception as error:
            name = type(transforms[count - 1]).__name__
            raise ConfigError(f"dataset.transforms[{count - 1}]: {name} does not fit the images: {error}") from error
    for image in images if transforms else []:
        if not isinstance(image, Tensor) or (image.dtype, image.shape) != (torch.uint8, shape):
            found = f"{image.dtype} of {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise ConfigError(
                f"dataset.transforms: an image of {tuple(shape)} becomes {found}; expected: torch.uint8 of the same "
                "shape, for every image"
            )
