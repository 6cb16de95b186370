from typing import Any

import pytest
import torch
from torch import Tensor

from runner.dataset.shapes import CLASSES, Shapes, silhouettes
from runner.registry import DATASETS


def load(**values: Any) -> tuple[Tensor, Tensor]:
    samples, test, val = Shapes(**values).load()
    assert test is None
    assert val is None
    assert isinstance(samples.inputs, Tensor)
    assert isinstance(samples.targets, Tensor)
    return samples.inputs, samples.targets


@pytest.mark.parametrize("size", [16, 64])
def test_samples_match_the_spec(size: int) -> None:
    spec = Shapes(images=20, size=size).spec
    images, masks = load(images=20, size=size)
    assert (spec.task, spec.in_shape, spec.out_features) == ("segmentation", (3, size, size), 4)
    assert spec.classes == CLASSES == ("background", "circle", "square", "triangle")
    assert (images.shape, images.dtype) == ((20, 3, size, size), torch.uint8)
    assert (masks.shape, masks.dtype) == ((20, size, size), torch.int64)


def test_mean_and_std_match_the_images() -> None:
    spec, (images, _) = Shapes().spec, load()
    scaled = images.double() / 255
    assert spec.mean[0] == pytest.approx(scaled.mean().item(), abs=2e-3)
    assert spec.std[0] == pytest.approx(scaled.std().item(), abs=2e-3)
    assert scaled.mean((0, 2, 3)).tolist() == pytest.approx([spec.mean[0]] * 3, abs=0.01)


def test_masks_match_the_colors() -> None:
    images, masks = load(images=50)
    for image, mask in zip(images, masks, strict=True):
        colors = {kind: image[:, mask == kind].unique(dim=1) for kind in (1, 2, 3)}
        shapes = [tuple(color) for kind in (1, 2, 3) for color in colors[kind].T.tolist()]
        assert 1 <= len(shapes) == len(set(shapes)) <= 4  # a shape has one color, and a color one class
        noise = image[:, mask == 0].unique(dim=1)
        assert noise.shape[1] > 200


def test_every_class_and_every_number_of_shapes_occurs() -> None:
    images, masks = load()
    counts = [
        sum(image[:, mask == kind].unique(dim=1).shape[1] for kind in (1, 2, 3))
        for image, mask in zip(images, masks, strict=True)
    ]
    assert set(counts) == {1, 2, 3, 4}
    shares = masks.flatten().bincount(minlength=4) / masks.numel()
    assert shares[0] > 0.5
    assert (shares[1:] > 0.03).all()


@pytest.mark.parametrize(("kind", "area"), [(1, 3.1416), (2, 2.89), (3, 2.0)])
def test_silhouettes_have_their_area_and_fill_their_sides(kind: int, area: float) -> None:
    covered = silhouettes(torch.full((40, 1, 1), kind), 64, torch.Generator().manual_seed(0))
    rows, columns = covered.any(2).sum(1), covered.any(1).sum(1)
    assert (rows - columns).abs().max() <= 2
    radius = columns / (1.7 if kind == 2 else 2)
    assert (covered.sum((1, 2)) / radius.square()).mean().item() == pytest.approx(area, rel=0.05)
    assert radius.min() < 10 < 14 < radius.max()
    if kind == 2:
        assert torch.equal(covered.sum((1, 2)), rows * columns)


def test_triangles_widen_from_the_top() -> None:
    covered = silhouettes(torch.full((40, 1, 1), 3), 64, torch.Generator().manual_seed(0))
    for mask in covered:
        widths = [width for width in mask.sum(1).tolist() if width]
        assert widths == sorted(widths)
        assert widths[0] <= 2
        assert widths[-1] >= 14


def test_later_shapes_cover_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[Tensor] = []

    def everywhere(kind: Tensor, size: int, generator: torch.Generator) -> Tensor:
        kinds.append(kind)
        return torch.ones(len(kind), size, size, dtype=torch.bool)

    monkeypatch.setattr("runner.dataset.shapes.silhouettes", everywhere)
    images, masks = load(images=30)
    drawn = torch.stack(kinds)[:, :, 0, 0]
    last = masks[:, 0, 0]
    assert (masks == last[:, None, None]).all()
    assert (images == images[:, :, :1, :1]).all()
    assert (drawn == last).any(0).all()
    assert not torch.equal(drawn[0], last)
    assert not torch.equal(drawn[-1], last)


def test_samples_depend_only_on_draw() -> None:
    before = torch.get_rng_state()
    first, same, other = (load(images=5, draw=draw) for draw in (0, 0, 1))
    assert all(map(torch.equal, first, same))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("values", "problem"),
    [({"images": 0}, "images must be at least 1, found 0"), ({"size": 15}, "size must be at least 16, found 15")],
)
def test_values_out_of_range_are_rejected(values: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Shapes(**values)


def test_builds_from_registry() -> None:
    assert isinstance(DATASETS.build("shapes", {"images": 3, "size": 32, "draw": 1}), Shapes)
