"""With trainer.shards, the number of processes changes no bit."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from faults.forked import job, output, run_jobs
from helpers import checkpoint, equal, metrics_table, results, scalars
from runner import cli

pytestmark = pytest.mark.slow
USUAL = ["device.name=cpu", "device.threads=1", "trainer.shards=8", "trainer.log_every=3"]
IMAGES = ["model=cnn", "model.channels=[4,8]", "model.hidden=[16]", "trainer.epochs=2"]
# fmt: off
CONFIGS = {
    "dropout, batch norm, augmentation, accumulation, clipping, EMA, bf16, uneven last batch": [
        *IMAGES, "model.dropout=0.3", "model.norm=batch", "dataset.augment.shift=1", "dataset.augment.flip=true",
        "trainer.batch_size=90", "trainer.accumulate=2", "trainer.clip_norm=0.5", "trainer.ema=0.9",
        "trainer.precision=bf16", "dataset.augment.erase=0.3",
    ],
    "streamed, fp16, class weights, torchmetrics": [
        *IMAGES, "dataset.in_memory=false", "dataset.workers=1", "trainer.precision=fp16", "trainer.batch_size=150",
        "loss.weight=[1,2,3,4,5,6,7,8,9,10]", "metrics=[accuracy,{name: f1, average: macro}]",
        "trainer.checkpoint.metric=val/f1", "trainer.checkpoint.mode=max",
    ],
    "mixup, alternating flip, plateau, adam, tta": [
        *IMAGES, "dataset.augment.mixup=0.4", "dataset.augment.flip=alternating", "optim=adam",
        "trainer.batch_size=150", "scheduler=plateau", "trainer.tta=flip",
    ],
    "L-BFGS": [*IMAGES, "optim=lbfgs", "trainer.batch_size=650", "trainer.accumulate=2", "model.dropout=0.1"],
    "validation split smaller than the world": [
        "experiment=line", "dataset.val_share=0.03", "dataset.test_share=0.2", "trainer.epochs=3",
        "trainer.batch_size=40",
    ],
    "regression": ["dataset=sine", "model=mlp", "loss=mse", "trainer.epochs=2"],
    "multilabel": [
        "experiment=multilabel_digits", "dataset.images=400", "model.channels=[4]", "trainer.max_steps=7",
    ],
    "segmentation": [
        "experiment=unet_shapes", "dataset.images=100", "dataset.size=16", "model.channels=[4,8]",
        "trainer.batch_size=20", "trainer.max_steps=7",
    ],
    "language modeling": [
        "experiment=gpt_text", "model.depth=1", "model.width=16", "model.dropout=0.1", "dataset.stride=400",
        "trainer.max_steps=7", "trainer.batch_size=30", "optim.groups=[{ndim: 2, optimizer: muon, lr: 0.003}]",
    ],
    "reconstruction": ["experiment=autoencoder_digits", "trainer.epochs=1"],
}
# fmt: on


NOISY = """
import random
import torch
from runner.registry import TASKS
from runner.task import Classification

@TASKS.register("noisy")
class Noisy(Classification):
    def loss(self, loss_fn, outputs, targets, inputs):
        return loss_fn(outputs + random.random() * torch.randn_like(outputs), targets)
"""


def only_run(folder: Path) -> Path:
    (run,) = folder.glob("outputs/2*/*")
    return run


def assert_same_bits(left: Path, right: Path) -> None:
    first, second = checkpoint(left), checkpoint(right)
    for key in first:
        assert equal(first[key], second[key]), key
    assert metrics_table(left) == metrics_table(right)
    assert scalars(left) == scalars(right)
    for part in ("train", "val", "test", "best"):
        assert results(left)[part] == results(right)[part]


@pytest.mark.parametrize("arguments", CONFIGS.values(), ids=CONFIGS)
def test_1_2_4_and_8_processes_give_the_same_bits(tmp_path: Path, arguments: Sequence[str]) -> None:
    folders = {size: tmp_path / str(size) for size in (1, 2, 4, 8)}
    codes = run_jobs([job(folder, size, [*arguments, *USUAL]) for size, folder in folders.items()])
    assert not any(map(any, codes)), [output(folder) for folder in folders.values()]
    for size in (2, 4, 8):
        assert_same_bits(only_run(folders[1]), only_run(folders[size]))


def test_random_numbers_in_validation_and_test_do_not_depend_on_the_world_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {size: tmp_path / str(size) for size in (1, 2, 4)}
    for folder in folders.values():
        folder.mkdir()
        (folder / "noisy.py").write_text(NOISY)
    arguments = [*USUAL, "model=mlp", "plugins=[noisy]", "task.name=noisy", "trainer.max_steps=9"]
    codes = run_jobs([job(folder, size, arguments) for size, folder in folders.items()])
    assert not any(map(any, codes)), [output(folder) for folder in folders.values()]
    for size in (2, 4):
        assert_same_bits(only_run(folders[1]), only_run(folders[size]))
    monkeypatch.chdir(folders[4])
    assert cli.main(["verify", str(only_run(folders[4]))]) == 0


def test_chain_of_resumes_with_other_world_sizes_gives_the_same_bits(tmp_path: Path) -> None:
    arguments = [
        *CONFIGS["dropout, batch norm, augmentation, accumulation, clipping, EMA, bf16, uneven last batch"],
        *USUAL,
    ]
    whole, chain = tmp_path / "whole", tmp_path / "chain"
    # Two steps of an epoch of eight remain before each stop, so that sums of shards have to move between ranks.
    first = [job(whole, 1, arguments), job(chain, 4, [*arguments, "trainer.max_steps=3"])]
    assert not any(map(any, run_jobs(first)))
    run = only_run(chain)
    following = [(2, 5), (8, 10), (1, 13), (2, None)]
    jobs = [
        job(chain, size, ["resume", str(run), f"trainer.max_steps={'null' if steps is None else steps}"])
        for size, steps in following
    ]
    assert not any(map(any, run_jobs(jobs))), output(chain)
    left, right = checkpoint(only_run(whole)), checkpoint(run)
    for key in ("model", "ema", "optimizer", "step", "train", "val"):
        assert equal(left[key], right[key]), key
    assert metrics_table(run)[-1] == metrics_table(only_run(whole))[-1]


@pytest.mark.parametrize("size", [3, 16])
def test_world_size_that_does_not_divide_the_shards_is_refused(tmp_path: Path, size: int) -> None:
    ((first, *_),) = run_jobs([job(tmp_path, size, ["trainer.shards=4"])])
    assert first == 2
    assert f"trainer.shards: found 4 with {size} processes; allowed: 1, 2, 4 processes" in output(tmp_path)
