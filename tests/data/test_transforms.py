from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.config.schema import Component, Config
from runner.data.batches import Batches
from runner.data.sources import CPU
from runner.data.streamed import Streamed
from runner.data.transforms import Transformed, build_transforms, known, try_transforms
from runner.dataset.base import Samples, Spec
from runner.errors import ConfigError
from runner.training.checks.check import check
from runner.training.setup.build import build

SHAPE = (3, 12, 12)
SPEC = Spec("classification", SHAPE, 3)
IMAGES = torch.randint(0, 256, (10, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def choice(name: str, **values: Any) -> Component:
    return Component.model_validate({"name": name, **values})


CHOICES = [
    choice("RandomResizedCrop", size=12, scale=[0.5, 1.0]),
    choice("ColorJitter", brightness=0.2, contrast=0.4, hue=0.1),
]


def transformed(workers: int, seed: int = 1, size: int = 4, epoch: int = 1, start: int = 0) -> Tensor:
    inputs = Transformed(IMAGES, build_transforms(CHOICES))
    source = Streamed(Samples(inputs, torch.arange(10) % 3), CPU, workers)
    return torch.cat([inputs for inputs, _ in Batches(source, SPEC, size, seed=seed).epoch(epoch, start)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_transforms_depend_only_on_seed_epoch_and_sample() -> None:
    first = transformed(0)
    assert len(first.unique(dim=0)) == 10
    for workers in (1, 2, 4):
        assert torch.equal(transformed(workers), first)
    assert torch.equal(transformed(2, start=1), first[4:])  # as after a resume
    assert torch.equal(transformed(2, size=3), first)
    assert not torch.equal(transformed(0, epoch=2).sum((1, 2, 3)).sort()[0], first.sum((1, 2, 3)).sort()[0])
    assert not torch.equal(transformed(0, seed=2).sum((1, 2, 3)).sort()[0], first.sum((1, 2, 3)).sort()[0])


def test_transforms_are_applied_in_order_and_leave_the_samples_unchanged() -> None:
    before, choices = (
        IMAGES.clone(),
        [choice("RandomSolarize", threshold=200, p=1.0), choice("RandomInvert", p=1)],
    )
    inputs = Transformed(IMAGES, build_transforms(choices))
    solarized = torch.where(IMAGES[3] >= 200, 255 - IMAGES[3], IMAGES[3])
    assert torch.equal(inputs[3], 255 - solarized)
    assert torch.equal(IMAGES, before)
    assert (len(inputs), inputs.draws) == (10, True)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"name": "RandomHorizontalFlipp"}, "dataset.transforms[0]: found 'RandomHorizontalFlipp'; allowed: AugMix,"),
        ({"name": "Lambda", "lambd": "print"}, "dataset.transforms[0]: found 'Lambda'; allowed: AugMix,"),
        ({"name": "RandomApply", "transforms": []}, "dataset.transforms[0]: found 'RandomApply'; allowed: AugMix,"),
        ({"name": "os.system"}, "dataset.transforms[0]: found 'os.system'; allowed: AugMix,"),
        ({"name": "Transform"}, "dataset.transforms[0]: found 'Transform'; allowed: AugMix,"),
        ({"name": "ToTensor"}, "images are tensors from the start: leave it out"),
        ({"name": "Normalize", "mean": [0], "std": [1]}, "inputs are normalized after the transforms: leave it out"),
        ({"name": "CutMix"}, "use dataset.augment.cutmix"),
        ({"name": "ColorJitter", "bright": 1}, "dataset.transforms[0].bright: no such key; allowed: brightness, contr"),
        ({"name": "ColorJitter", "hue": "much"}, "dataset.transforms[0].hue: found 'much'; Input should be"),
        ({"name": "RandomCrop"}, "dataset.transforms[0].size: missing, needed by RandomCrop"),
        ({"name": "RandomErasing", "inplace": True}, "dataset.transforms[0].inplace: no such key"),
        ({"name": "GaussianBlur", "kernel_size": 4}, "dataset.transforms[0]: GaussianBlur: Kernel size value should"),
        ({"name": "RandomRotation", "degrees": 20, "expand": True}, "becomes torch.uint8 of (3, "),
        ({"name": "RandomCrop", "size": 11}, "an image of (3, 12, 12) becomes torch.uint8 of (3, 11, 11)"),
        ({"name": "RandomCrop", "size": 99}, "dataset.transforms[0]: RandomCrop does not fit the images: "),
    ],
)
def test_transform_that_cannot_be_used_is_reported(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        try_transforms(build_transforms([Component.model_validate(values)]), SHAPE)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nearest_name_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean RandomHorizontalFlip\?"):
        build_transforms([choice("random_horizontal_flip")])


def test_transform_whose_steps_change_the_shape_is_allowed_if_the_last_restores_it() -> None:
    try_transforms(build_transforms([choice("Pad", padding=2), choice("RandomCrop", size=12)]), SHAPE)


@pytest.mark.parametrize("values", [{"degrees": 10, "interpolation": "bilinear"}, {"degrees": [-5, 5.0]}])
def test_numbers_lists_and_names_of_modes_are_accepted(values: dict[str, Any]) -> None:
    try_transforms(build_transforms([choice("RandomRotation", **values)]), SHAPE)


def test_most_transforms_work_with_their_defaults() -> None:
    tried = ("AugMix", "AutoAugment", "RandAugment", "RandomErasing", "RandomPhotometricDistort", "TrivialAugmentWide")
    assert set(tried) <= set(known())
    try_transforms(build_transforms([choice(name) for name in tried]), SHAPE)


SIZED = ["dataset.size=16", "dataset.transforms=[{name: RandomCrop, size: 16, padding: 2}, RandomInvert]"]


def test_only_training_images_are_transformed_whether_in_memory_or_not(tiny: Callable[..., Config]) -> None:
    plain, held, streamed = (
        build(tiny(*arguments))
        for arguments in (SIZED[:1], SIZED, [*SIZED, "dataset.in_memory=false", "dataset.workers=2"])
    )
    batches = [torch.cat([inputs for inputs, _ in parts.train.epoch(1)]) for parts in (plain, held, streamed)]
    assert not torch.equal(batches[0], batches[1])
    assert torch.equal(batches[1], batches[2])
    for parts in (held, streamed):
        assert torch.equal(parts.val.first(9)[0], plain.val.first(9)[0])
        assert parts.fingerprint == plain.fingerprint
        assert torch.equal(parts.train.first(9)[0], held.train.first(9)[0])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["dataset.transforms=[Lambda]"], "dataset.transforms[0]: found 'Lambda'"),
        (["dataset.transforms=[{name: RandomCrop, size: 7}]"], "becomes torch.uint8 of (1, 7, 7)"),
        (
            ["dataset=edges", "loss=mse", "dataset.transforms=[RandomInvert]"],
            "dataset.transforms: for the classification of images only; dataset=edges is for regression",
        ),
    ],
)
def test_transforms_are_checked_before_a_run_starts(
    tiny: Callable[..., Config], arguments: list[str], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tiny(*arguments))
    assert problem in str(caught.value)
