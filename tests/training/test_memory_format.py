from typing import Any

import pytest
import torch

from runner.config.compose import compose_config
from runner.machine.distributed import ALONE
from runner.training.memory_format import uses_channels_last
from runner.training.setup.build import build_task
from runner.training.setup.build_data import Loader, build_dataset, split_dataset

VIT = ["model=torchvision", "model.arch=vit_b_16"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=lenet"], True),
        (["model=lenet", "optim=lbfgs"], False),
        (["model=lenet", "optim=lbfgs", "trainer.channels_last=true"], True),
        (["model=lenet", "trainer.channels_last=false"], False),
        (["model=mlp"], False),
        (["model=torchvision", "device=cpu"], False),
        (["model=torchvision", "device=cuda"], True),
        (["model=torchvision", "device.name=cuda:1"], True),
        ([*VIT, "device=cuda"], False),
        ([*VIT, "trainer.channels_last=true"], True),
    ],
)
def test_channels_last_depends_on_model_optimizer_and_config(overrides: list[str], expected: bool) -> None:
    assert uses_channels_last(compose_config(overrides)) is expected


@pytest.mark.parametrize(
    ("device", "overrides", "expected"),
    [("meta", [], True), ("meta", ["trainer.channels_last=false"], False), ("cpu", [], False)],
)
def test_images_on_an_accelerator_are_in_the_format_of_the_model(
    device: str, overrides: list[str], expected: bool
) -> None:
    config = compose_config(["experiment=unet_shapes", "dataset.images=40", *overrides])
    dataset = build_dataset(config)
    loader = Loader(config, dataset, dataset.spec, build_task(config, dataset.spec), torch.device(device))
    splits = split_dataset(config, dataset)
    for batches in (loader.train(splits.train, ALONE), loader.evaluation(splits.val)):
        source: Any = batches.source
        assert source.inputs.is_contiguous(memory_format=torch.channels_last) is expected
