from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from data import cifar_shaped, mnist_shaped
from gpu import airbench, bare, speed
from gpu.airbench import crop_and_flip, half
from gpu.bare import Bare
from gpu.meter import Length
from gpu.speed import of_runner
from gpu.training import trainer_of
from gpu.works import FULL, SMALL
from runner.tracking.tracker import NullTracker

LENET, RESNET = SMALL[0], replace(FULL[-1], batch=4, length=Length(1, 1))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    mnist_shaped(root, 400)
    return root


def test_all_loops_train_the_same_number_of_images_as_the_runner(digits: Path) -> None:
    images, targets = LENET.images(digits)
    trainer = trainer_of(LENET.runner(digits, "cpu"), NullTracker(), digits)
    assert len(images) == len(targets) == trainer.parts.train.samples == 360
    inputs, _ = next(iter(trainer.parts.train.epoch(0)))
    assert inputs[0].shape == images[0].shape
    assert abs(inputs.mean() - images.mean()) < 0.1  # normalized alike


@pytest.mark.parametrize("loop", [bare.eager, bare.graphed, airbench.eager, *of_runner(LENET, "cpu").values()])
def test_loop_is_measured(loop: speed.Loop, digits: Path) -> None:
    row = loop(LENET, digits, "cpu")
    assert 0 < row["from"] <= row["images/s"] <= row["to"]


def test_runner_is_measured_with_and_without_graph_on_a_gpu() -> None:
    assert list(of_runner(LENET, "cpu")) == ["runner"]
    assert len(of_runner(LENET, "cuda")) == 4
    assert "runner, trainer.cuda_graph, bf16" not in of_runner(RESNET, "cuda")  # all of its loops are in bf16


def test_step_of_the_bare_loop_learns(digits: Path) -> None:
    torch.manual_seed(0)
    trained = Bare(LENET, digits, "cpu")
    losses = [trained.step(torch.arange(64)).item() for _ in range(60)]
    assert losses[-1] < losses[0] - 0.05


def test_crops_are_parts_of_the_images_and_half_of_them_mirrored() -> None:
    images = torch.arange(200 * 3 * 6 * 6).view(200, 3, 6, 6)
    crops = crop_and_flip(images, 4)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    mirrored, places = 0, set()
    for image, crop in zip(images, crops, strict=True):
        flips = bool(crop[0, 0, 0] > crop[0, 0, -1])
        straight = crop.flip(-1) if flips else crop
        row, column = divmod(int(straight[0, 0, 0] - image[0, 0, 0]), 6)
        assert torch.equal(straight, image[:, row : row + 4, column : column + 4])
        mirrored += flips
        places.add((row, column))
    assert 60 < mirrored < 140
    assert places == {(row, column) for row in range(3) for column in range(3)}


def test_batch_normalization_stays_in_single_precision() -> None:
    model = half(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.half)
    assert [parameter.dtype for parameter in model.parameters()] == [torch.half] * 2 + [torch.float] * 2


@pytest.mark.slow
@pytest.mark.parametrize("loop", [bare.eager, bare.graphed, airbench.eager, *of_runner(RESNET, "cpu").values()])
def test_loop_trains_resnet(loop: speed.Loop, tmp_path: Path) -> None:
    cifar_shaped(tmp_path, 100)
    assert loop(RESNET, tmp_path, "cpu")["images/s"] > 0
