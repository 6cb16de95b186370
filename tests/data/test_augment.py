from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from runner.config import schema
from runner.data.augment import Augment, alternating
from runner.data.batches import Batches
from runner.data.sources import InMemory, Source
from runner.data.streamed import Streamed
from runner.dataset import Samples, Spec
from runner.machine.distributed import World
from runner.machine.seeds import generator

CPU = torch.device("cpu")
SPEC = Spec("classification", in_shape=(3, 8, 6), out_features=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
ALL = Augment(shift=2, crop=1, flip=True, erase=0.5)
IMAGES = torch.arange(1.0, 61.0).view(1, 1, 10, 6).expand(400, 3, -1, -1)  # all pixels of an image differ


def test_processes_augment_differently() -> None:
    same = Samples(torch.ones(40, 3, 8, 6), torch.zeros(40, dtype=torch.long))
    first, second = (
        next(iter(Batches(InMemory(same, CPU), SPEC, 40, seed=1, augment=ALL, world=World(rank, 2)).epoch()))[0]
        for rank in range(2)
    )
    assert first.shape == second.shape == (20, 3, 8, 6)
    assert not torch.equal(first, second)


def changed(augment: Augment, images: Tensor = IMAGES, seed: int = 0, mirrored: Tensor | None = None) -> Tensor:
    found = augment.apply(images, augment.draw(images.shape, generator(seed), mirrored).to(images.device))
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    return found


def kinds(images: Tensor) -> set[tuple[float, ...]]:
    return {tuple(image.flatten().tolist()) for image in images}


def test_memory_format_is_kept() -> None:
    usual = IMAGES.contiguous()
    found, same = changed(ALL, usual.to(memory_format=torch.channels_last)), changed(ALL, usual)
    assert torch.equal(found, same)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert same.is_contiguous()


def test_no_augmentation_is_identity() -> None:
    assert torch.equal(changed(Augment()), IMAGES)


def test_shift_translates_and_repeats_border() -> None:
    padded = torch.nn.functional.pad(IMAGES[:1], (2, 2, 2, 2), mode="replicate")
    allowed = [padded[..., y : y + 10, x : x + 6] for y in range(5) for x in range(5)]
    assert kinds(changed(Augment(shift=2))) == kinds(torch.cat(allowed))


def test_crop_pads_with_zeros() -> None:
    padded = torch.nn.functional.pad(IMAGES[:1], (2, 2, 2, 2))
    allowed = [padded[..., y : y + 10, x : x + 6] for y in range(5) for x in range(5)]
    assert kinds(changed(Augment(crop=2))) == kinds(torch.cat(allowed))


def test_shift_and_crop_compose() -> None:
    moved = torch.nn.functional.pad(IMAGES[:1], (1, 1, 1, 1), mode="replicate")
    shifted = [moved[..., y : y + 10, x : x + 6] for y in range(3) for x in range(3)]
    padded = torch.nn.functional.pad(torch.cat(shifted), (1, 1, 1, 1))
    allowed = [padded[..., y : y + 10, x : x + 6] for y in range(3) for x in range(3)]
    assert kinds(changed(Augment(shift=1, crop=1))) <= kinds(torch.cat(allowed))


def test_crop_pads_with_reflected_pixels() -> None:
    padded = torch.nn.functional.pad(IMAGES[:1], (5, 5, 5, 5), mode="reflect")
    allowed = [padded[..., y : y + 10, x : x + 6] for y in range(11) for x in range(11)]
    found = changed(Augment(crop=5, pad="reflect"), IMAGES[:1].expand(3000, -1, -1, -1))
    assert kinds(found) == kinds(torch.cat(allowed))


def test_padding_does_not_move_the_crop() -> None:
    zero, reflected = (changed(Augment(2, 4, True, 0.5, pad)) for pad in ("zero", "reflect"))
    assert not torch.equal(zero, reflected)
    assert torch.equal(zero, reflected * (zero != 0))


@pytest.mark.parametrize("crop", [6, 7])
def test_reflected_crop_must_be_smaller_than_the_images(crop: int) -> None:
    with pytest.raises(ValueError, match=f"crop: found {crop} with images of 10x6; .*: at most 5, less than"):
        changed(Augment(crop=crop, pad="reflect"))
    changed(Augment(crop=crop))


def test_alternating_flip_mirrors_the_given_images() -> None:
    mirrored = torch.arange(400) % 3 == 0
    found = changed(Augment(flip="alternating"), mirrored=mirrored)
    assert torch.equal(found, torch.where(mirrored[:, None, None, None], IMAGES.flip(3), IMAGES))


def test_alternating_flip_does_not_change_other_transforms() -> None:
    found = changed(Augment(2, 1, "alternating", 0.5), mirrored=torch.zeros(400, dtype=torch.bool))
    assert torch.equal(found, changed(Augment(2, 1, False, 0.5)))


def test_alternating_flip_needs_a_mask() -> None:
    with pytest.raises(ValueError, match=r'flip="alternating" needs `mirrored`.* found None'):
        changed(Augment(flip="alternating"))


def test_alternating_flips_each_sample_in_every_other_pass() -> None:
    first, second, third, fourth = (alternating(1000, 0, number) for number in range(4))
    assert (first.shape, first.dtype) == ((1000,), torch.bool)
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)
    assert torch.equal(fourth, second)


def test_half_of_the_samples_are_mirrored_first_and_the_seed_decides_which() -> None:
    first, other = alternating(1000, 0, 0), alternating(1000, 1, 0)
    assert 450 < first.sum() < 550
    assert 400 < (first != other).sum() < 600
    assert torch.equal(alternating(1000, 0, 0), first)


def test_defaults_of_the_config_change_nothing() -> None:
    choice = schema.Augment().model_dump()
    assert (choice.pop("mixup"), choice.pop("cutmix")) == (0, 0)
    assert Augment(**choice) == Augment()


def test_flip_mirrors_half_of_the_images() -> None:
    found = changed(Augment(flip=True))
    assert kinds(found) == kinds(torch.stack([IMAGES[0], IMAGES[0].flip(2)]))
    assert 150 < sum(torch.equal(image, IMAGES[0]) for image in found) < 250


def test_erased_rectangles_have_the_published_sizes() -> None:
    found = changed(Augment(erase=0.25), torch.ones(400, 3, 32, 32))
    erased = [image for image in found if (image == 0).any()]
    assert 70 < len(erased) < 130
    for image in erased:
        gone = image[0] == 0
        assert torch.equal(gone, gone.any(1)[:, None] & gone.any(0))
        assert torch.equal(image, image[:1].expand(3, -1, -1))
        assert 0.015 < gone.float().mean() < 0.42
    assert len({float((image == 0).sum()) for image in erased}) > 30


def test_each_image_is_augmented_differently_by_the_given_generator_only() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = changed(ALL)
    assert len(kinds(found)) > 100
    assert torch.equal(changed(ALL), found)
    assert not torch.equal(changed(ALL, seed=1), found)
    assert torch.equal(torch.get_rng_state(), before)


def test_transforms_do_not_share_random_draws() -> None:
    mirrored = (changed(Augment(flip=True)) != IMAGES).any(3).any(2).any(1)
    both = changed(Augment(flip=True, erase=1.0))
    assert torch.equal(both, changed(Augment(flip=True)) * (both != 0))
    assert 0 < mirrored.sum() < 400


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    shift=st.integers(0, 12),
    crop=st.integers(0, 12),
    erase=st.floats(0, 1),
)
def test_output_contains_only_input_pixels_and_zeros(
    height: int, width: int, shift: int, crop: int, erase: float
) -> None:
    images = torch.arange(1.0, 1.0 + height * width).view(1, 1, height, width).expand(20, 1, -1, -1)
    found = changed(Augment(shift, crop, True, erase), images)
    assert set(found.unique().tolist()) <= {0.0, *images.unique().tolist()}


def sources(samples: Samples) -> list[Source]:
    return [InMemory(samples, CPU), Streamed(samples, CPU, workers=0), Streamed(samples, CPU, workers=2)]


def pictures(count: int = 20) -> Samples:
    draws = torch.randint(0, 256, (count, *SPEC.in_shape), generator=torch.Generator().manual_seed(0))
    return Samples(draws.to(torch.uint8), torch.arange(count) % 2)


def test_all_sources_augment_identically_from_any_batch() -> None:
    runs = [Batches(source, SPEC, 6, seed=1, repeat=2, augment=ALL) for source in sources(pictures())]
    whole = list(runs[0].epoch(3))
    assert len(whole) == len(runs[0]) == 7
    for batches in runs:
        for start in (0, 2, 5):
            for (inputs, targets), (same, same_targets) in zip(batches.epoch(3, start), whole[start:], strict=True):
                assert torch.equal(inputs, same)
                assert torch.equal(targets, same_targets)


def test_each_epoch_and_batch_is_augmented_differently() -> None:
    batches = Batches(InMemory(pictures(), CPU), SPEC, 20, seed=1, repeat=2, augment=ALL)
    (first, _), (second, _) = batches.epoch(0)
    (third, _), _ = batches.epoch(1)
    assert not torch.equal(first, second)
    assert not torch.equal(first, third)


def test_global_generator_is_not_used() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for source in sources(pictures())[:2]:
        list(Batches(source, SPEC, 6, seed=1, augment=ALL).epoch())
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_not_augmented_without_a_seed() -> None:
    plain = Batches(InMemory(pictures(), CPU), SPEC, 6)
    for (inputs, _), (same, _) in zip(plain.epoch(), Batches(plain.source, SPEC, 6, augment=ALL).epoch(), strict=True):
        assert torch.equal(inputs, same)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"])
def test_accelerator_matches_cpu(device: str) -> None:
    images = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for augment in (ALL, Augment(1, 4, "alternating", 0.5, "reflect")):
        found, same = (changed(augment, each, mirrored=alternating(50, 0, 0)) for each in (images.to(device), images))
        assert torch.equal(found.cpu(), same)


@pytest.mark.parametrize("size", [6, 20])
def test_each_image_is_mirrored_in_every_other_pass(size: int) -> None:
    images = torch.arange(20 * 4, dtype=torch.uint8).view(20, 1, 1, 4)
    source = InMemory(Samples(images, torch.arange(20)), CPU)
    batches = Batches(source, SPEC, size, seed=1, repeat=2, augment=Augment(flip="alternating"))
    passes: list[dict[int, list[float]]] = []
    for epoch in range(2):
        seen: list[tuple[int, Tensor]] = []
        for inputs, targets in batches.epoch(epoch):
            seen += zip(targets.tolist(), inputs, strict=True)
        passes += [{index: image[0, 0].tolist() for index, image in half} for half in (seen[:20], seen[20:])]
    for earlier, later in pairwise(passes):
        assert all(earlier[index] == later[index][::-1] for index in range(20))
    assert passes[0] == passes[2]
    whole, resumed = list(batches.epoch(1)), list(batches.epoch(1, start=1))
    assert all(torch.equal(one, two) for (one, _), (two, _) in zip(whole[1:], resumed, strict=True))
