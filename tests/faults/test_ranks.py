"""Ranks that differ are named and refused, and ranks that should not differ do not."""

from pathlib import Path

import pytest
import torch

from conftest import TINY
from faults.forked import job, output, run_jobs
from faults.test_shards import only_run
from helpers import checkpoint, results

pytestmark = pytest.mark.slow
CPU = ["device.name=cpu", "device.threads=1", "device.timeout=20"]
PLUGIN = """
import os

import torch
from torch import nn

from runner.registry import MODELS


@MODELS.register("odd")
class Odd(nn.Module):
    # Rank 1 draws other initial weights, and changes a weight after some steps.

    def __init__(self, out_features, change_after=10**9):
        super().__init__()
        self.used, self.unused = nn.Linear(64, out_features), nn.Linear(3, 3)
        self.change_after, self.rank = change_after, int(os.environ.get("RANK", 0))
        self.register_buffer("step", torch.tensor(0))
        with torch.no_grad():
            self.used.weight.add_(self.rank)
            self.unused.weight.fill_(1)

    def forward(self, x):
        if self.training and x.device.type != "meta" and len(x) > 2:
            self.step += 1
            if self.rank == 1 and self.step == self.change_after:
                self.used.weight.data[0, 0] += 1e-3
        return self.used(x.flatten(1))
"""
ODD = [
    "plugins=[odd]",
    "--config-dir",
    "conf",
    "model=odd",
    "dataset.size=8",
    "trainer.epochs=2",
    "optim.weight_decay=0.5",
]


def write_plugin(folder: Path) -> Path:
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "odd.py").write_text(PLUGIN)
    (folder / "conf" / "model" / "odd.yaml").write_text(f"name: odd\nchange_after: {10**9}\n")
    return folder


def test_rank_with_another_config_is_named_and_nothing_is_created(tmp_path: Path) -> None:
    arguments = [*TINY, *CPU, "optim.lr='${oc.decode:${oc.env:RATE}}'"]
    codes = run_jobs([job(tmp_path, 3, arguments, all={"RATE": "0.1"}, rank2={"RATE": "0.2"})])
    assert codes == [[2, 2, 2]]
    assert "rank 2 (process " in output(tmp_path)
    assert "config optim.lr: found 0.2, rank 0 has 0.1" in output(tmp_path)
    assert output(tmp_path, 1) == ""
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("more", [[], ["trainer.shards=2"]], ids=["data-parallel", "sharded"])
def test_initial_weights_are_those_of_rank_0_and_unused_parameters_do_not_decay(
    tmp_path: Path, more: list[str]
) -> None:
    alone, together = write_plugin(tmp_path / "alone"), write_plugin(tmp_path / "together")
    assert run_jobs([job(alone, 1, [*ODD, *CPU]), job(together, 2, [*ODD, *CPU, *more])]) == [[0], [0, 0]]
    first, second = (checkpoint(only_run(folder))["model"] for folder in (alone, together))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
    assert second["unused.weight"].unique().tolist() == [1]


@pytest.mark.parametrize("more", [[], ["trainer.shards=2"]], ids=["data-parallel", "sharded"])
def test_rank_whose_weights_differ_is_named_at_the_next_save(tmp_path: Path, more: list[str]) -> None:
    folder = write_plugin(tmp_path / "run")
    ((first, second),) = run_jobs([job(folder, 2, [*ODD, *CPU, *more, "model.change_after=50"])])
    assert (first, second) == (1, 1)
    run = only_run(folder)
    assert "the weights or the optimizer state of rank 1 (process " in output(folder)
    assert "differ from those of rank 0; not saved" in output(folder)
    assert results(run)["status"] == "failed"
    assert checkpoint(run)["step"] == 41  # the last save before the change, at the end of the first epoch


def test_damaged_checkpoint_is_replaced_by_an_older_one_on_all_ranks(tmp_path: Path) -> None:
    arguments = [*TINY, *CPU, "trainer.batch_size=64", "trainer.checkpoint.every_steps=5", "trainer.max_steps=12"]
    assert run_jobs([job(tmp_path, 2, arguments)]) == [[0, 0]]
    run = only_run(tmp_path)
    for name in ("last.pt", "step-000000012.pt"):
        (run / "checkpoints" / name).write_bytes(b"damaged")
    assert run_jobs([job(tmp_path, 2, ["resume", str(run), "trainer.max_steps=14"])]) == [[0, 0]]
    assert "continuing from" in (run / "run.log").read_text()
    assert checkpoint(run)["step"] == 14
    for path in (run / "checkpoints").glob("*.pt"):
        path.write_bytes(b"damaged")
    assert run_jobs([job(tmp_path, 2, ["resume", str(run), "trainer.max_steps=16"])]) == [[1, 1]]
    assert "all checkpoints are damaged" in output(tmp_path)
