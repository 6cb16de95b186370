import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.data.mix import Mix
from runner.machine.seeds import generator

CLASSES = 5
TARGETS = torch.arange(40) % CLASSES
IMAGES = F.one_hot(TARGETS, CLASSES).float()[:, :, None, None].expand(-1, -1, 8, 16).contiguous()  # channel: the class
BOTH = Mix(1.0, 1.0, CLASSES)


def mixed(mix: Mix, seed: int = 0) -> tuple[Tensor, Tensor]:
    images, targets = mix(IMAGES, TARGETS, generator(seed))
    assert (images.shape, images.dtype) == (IMAGES.shape, torch.float32)
    assert (targets.shape, targets.dtype) == ((40, CLASSES), torch.float32)
    return images, targets


def was_cut(images: Tensor) -> bool:
    return set(images.unique().tolist()) == {0.0, 1.0}


def test_off_changes_nothing() -> None:
    images, targets = mixed(Mix(0.0, 0.0, CLASSES))
    assert torch.equal(images, IMAGES)
    assert torch.equal(targets, F.one_hot(TARGETS, CLASSES).float())


@pytest.mark.parametrize("mix", [Mix(1.0, 0.0, CLASSES), Mix(0.0, 1.0, CLASSES), BOTH], ids=["mixup", "cutmix", "both"])
def test_targets_sum_to_one_and_are_the_shares_of_the_pixels(mix: Mix) -> None:
    for seed in range(20):
        images, targets = mixed(mix, seed)
        torch.testing.assert_close(targets.sum(1), torch.ones(40), atol=1e-6, rtol=0)
        assert torch.equal(images.mean((2, 3)) if was_cut(images) else images[:, :, 0, 0], targets)


def test_mixup_averages_whole_images_with_one_weight() -> None:
    images, targets = mixed(Mix(1.0, 0.0, CLASSES))
    assert torch.equal(images, images[:, :, :1, :1].expand_as(images))
    own = targets[range(40), TARGETS]
    weights = own[own < 1].unique()  # an image that is mixed with one of its class keeps its target
    assert len(weights) == 1
    assert 0 < weights.item() < 1


def test_cutmix_replaces_the_same_rectangle_of_all_images() -> None:
    for seed in range(20):
        images, _ = mixed(Mix(0.0, 1.0, CLASSES), seed)
        assert was_cut(images)
        replaced = (images != IMAGES).any(1)
        gone = replaced.any(0)
        assert torch.equal(gone, gone.any(1)[:, None] & gone.any(0))
        assert all(torch.equal(each, gone) or not each.any() for each in replaced)


def test_images_are_mixed_with_a_permutation_of_the_batch() -> None:
    images = torch.arange(1.0, 41.0)[:, None, None, None].expand(-1, 1, 8, 8)
    found, _ = Mix(0.0, 4.0, CLASSES)(images, TARGETS, generator(0))
    row, column = (found != images).any(0)[0].nonzero()[0].tolist()
    assert found[:, 0, row, column].sort().values.tolist() == images[:, 0, 0, 0].tolist()
    assert not torch.equal(found[:, 0, row, column], images[:, 0, 0, 0])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_have_the_moments_of_the_beta_distribution(alpha: float) -> None:
    mix = Mix(alpha, 0.0, 2)
    pair, labels = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1), torch.tensor([0, 1])
    weights = torch.stack([mix(pair, labels, generator(seed))[1][0, 0] for seed in range(2000)])
    weights = weights[weights != 1]  # half of the permutations change nothing
    assert 900 < len(weights) < 1100
    assert weights.mean().item() == pytest.approx(0.5, abs=0.05)
    assert weights.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_cutmix_replaces_the_published_area() -> None:
    images, labels = torch.zeros(2, 1, 32, 32), torch.tensor([0, 1])
    kept = torch.stack([Mix(0.0, 1.0, 2)(images, labels, generator(seed))[1][0, 0] for seed in range(2000)])
    # A side s with a uniform center is clipped to s - s^2 / 4 in the mean. Beta(1, 1) makes s^2 uniform, so that the
    # mean area is E[(s - s^2 / 4)^2] = 1/2 - 1/5 + 1/48. Half of the permutations change nothing.
    assert (1 - kept.mean().item()) * 2 == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.02)


def test_each_batch_uses_mixup_or_cutmix_with_equal_probability() -> None:
    assert 70 < sum(was_cut(mixed(BOTH, seed)[0]) for seed in range(200)) < 130
    for seed in range(20):
        found = mixed(BOTH, seed)
        alone = Mix(0.0, 1.0, CLASSES) if was_cut(found[0]) else Mix(1.0, 0.0, CLASSES)
        assert all(torch.equal(*pair) for pair in zip(found, mixed(alone, seed), strict=True))


def test_only_the_given_generator_decides() -> None:
    torch.manual_seed(0)
    before, images = torch.get_rng_state(), IMAGES.clone()
    for mix in (Mix(1.0, 0.0, CLASSES), Mix(0.0, 1.0, CLASSES)):
        found = mixed(mix)
        assert all(torch.equal(*pair) for pair in zip(mixed(mix), found, strict=True))
        assert not torch.equal(mixed(mix, seed=1)[0], found[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(IMAGES, images)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"])
def test_accelerator_matches_cpu(device: str) -> None:
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        found = BOTH(images.to(device), TARGETS.to(device), generator(seed))
        wanted = BOTH(images, TARGETS, generator(seed))
        assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(found, wanted, strict=True))
