"""Tests of distributed training, with processes started as torchrun starts them."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY
from faults.forked import open_agent_store, torchrun_variables
from helpers import checkpoint, equal, finish, metrics_table, results, scalars, start, wait_until

pytestmark = pytest.mark.slow
Start = Callable[..., list[subprocess.Popen[str]]]
LONG = [*TINY, "trainer.epochs=100000", "trainer.checkpoint.every_epochs=100000", "logger=none"]
RANDOM = ["model.dropout=0.3", "model.norm=batch", "dataset.augment.shift=1", "dataset.augment.flip=true"]
FAULTY = """
import os
from torch import nn
from runner.registry import MODELS

@MODELS.register("faulty")
class Faulty(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        if self.training and x.device.type != "meta" and len(x) > 2 and os.environ["RANK"] == "1":
            raise ValueError("on purpose")
        return super().forward(x)
"""


@pytest.fixture
def torchrun() -> Iterator[Start]:
    """Return a function that starts the processes of one run as torchrun does, on the loopback interface only."""
    stores: list[Any] = []
    started: list[subprocess.Popen[str]] = []

    def start_all(*arguments: str, cwd: Path, processes: int = 2) -> list[subprocess.Popen[str]]:
        store, port = open_agent_store()
        stores.append(store)
        ranks = [torchrun_variables(rank, processes, port) for rank in range(processes)]
        together = [start(*arguments, cwd=cwd, GLOO_SOCKET_IFNAME="lo", **rank) for rank in ranks]
        started.extend(together)
        return together

    yield start_all
    for process in started:  # after a failed test, they may still wait for each other
        process.kill()
        process.communicate()


def only_run(workdir: Path) -> Path:
    (folder,) = workdir.glob("outputs/*/*")
    return folder


def trains(folder: Path) -> bool:
    return "INFO epoch " in (folder / "run.log").read_text()


def test_two_processes_match_one_and_only_the_first_logs(tmp_path: Path, torchrun: Start) -> None:
    arguments = [*TINY, "trainer.batch_size=45", "trainer.accumulate=2", "trainer.clip_norm=0.5", "trainer.ema=0.9"]
    (tmp_path / "alone").mkdir()
    finish(start(*arguments, cwd=tmp_path / "alone"))
    # The validation split has 143 samples, so its last batch has a single sample.
    streamed = ["dataset.in_memory=false", "dataset.workers=1", "trainer.eval_batch_size=71"]
    first, second = torchrun(*arguments, *streamed, cwd=tmp_path)
    assert "on cpu (1 threads), 2 processes" in finish(first)
    assert finish(second) == ""
    alone, together = only_run(tmp_path / "alone"), only_run(tmp_path)
    for part in ("train", "val", "test"):
        assert results(together)[part] == pytest.approx(results(alone)[part], rel=1e-4)
    for name, weights in checkpoint(alone)["model"].items():
        assert torch.allclose(checkpoint(together)["model"][name], weights, atol=1e-5)
    assert len(metrics_table(together)) == len(metrics_table(alone)) == 3


def test_closure_returns_the_global_loss(tmp_path: Path, torchrun: Start) -> None:
    arguments = [*TINY, "optim=lbfgs", "trainer.max_steps=1", "trainer.batch_size=600"]
    (tmp_path / "alone").mkdir()
    finish(start(*arguments, cwd=tmp_path / "alone"))
    for process in torchrun(*arguments, cwd=tmp_path):
        finish(process)
    alone, together = results(only_run(tmp_path / "alone")), results(only_run(tmp_path))
    assert together["val"] == pytest.approx(alone["val"], rel=1e-3)


def test_resume_after_kill_equals_uninterrupted_run(tmp_path: Path, torchrun: Start) -> None:
    arguments = [*TINY, *RANDOM, "trainer.batch_size=64", "trainer.epochs=30", "trainer.checkpoint.every_steps=3"]
    (tmp_path / "undisturbed").mkdir()
    for process in torchrun(*arguments, cwd=tmp_path / "undisturbed"):
        finish(process)
    processes = torchrun(*arguments, cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/checkpoints/last.pt"))))
    for _ in range(2):
        time.sleep(random.uniform(0, 0.5))
        for process in processes:
            process.kill()
        for process in processes:
            finish(process, -signal.SIGKILL)
        processes = torchrun("resume", str(only_run(tmp_path)), cwd=tmp_path)
        wait_until(lambda: "resumed " in (only_run(tmp_path) / "run.log").read_text())
    for process in processes:
        finish(process)
    undisturbed, resumed = only_run(tmp_path / "undisturbed"), only_run(tmp_path)
    assert results(resumed)["resumed"] == 2
    assert equal(checkpoint(resumed), checkpoint(undisturbed))
    assert metrics_table(resumed) == metrics_table(undisturbed)
    assert scalars(resumed) == scalars(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("rank", [0, 1])
def test_signal_to_one_process_stops_all_after_the_same_step(
    tmp_path: Path, torchrun: Start, number: signal.Signals, rank: int
) -> None:
    processes = torchrun(*LONG, cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/run.log"))) and trains(only_run(tmp_path)))
    processes[rank].send_signal(number)
    codes = [143, 143]  # a process that received no signal itself exits as after SIGTERM
    codes[rank] = 130 if number == signal.SIGINT else 143
    for process, code in zip(processes, codes, strict=True):
        finish(process, code)
    folder = only_run(tmp_path)
    assert results(folder)["status"] == "interrupted"
    assert checkpoint(folder)["step"] == results(folder)["step"] > 0


def test_divergence_ends_all_processes(tmp_path: Path, torchrun: Start) -> None:
    first, second = torchrun(*TINY, "optim.lr=1e38", "trainer.epochs=50", cwd=tmp_path)
    assert "optim.lr (now 1e+38)" in finish(first, 3)
    assert finish(second, 3) == ""
    assert results(only_run(tmp_path))["status"] == "diverged"


def test_killed_process_is_reported_and_run_resumes_on_one_process(tmp_path: Path, torchrun: Start) -> None:
    changed = ["trainer.batch_size=64", "trainer.checkpoint.every_steps=10", "trainer.epochs=3000"]
    first, second = torchrun(*TINY, *RANDOM, *changed, cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/checkpoints/last.pt"))))
    second.kill()
    finish(second, -signal.SIGKILL)
    assert "cannot communicate with the other ranks" in (output := finish(first, 1))
    assert f"rank 1 (process {second.pid} on " in output
    folder = only_run(tmp_path)
    assert results(folder)["status"] == "failed"
    saved = checkpoint(folder)
    seen = sum(shard["sums"]["counts"][1] for shard in saved["shards"])  # number of samples
    finish(start("resume", str(folder), f"trainer.max_steps={saved['step'] + 1}", cwd=tmp_path))
    after = checkpoint(folder)
    assert after["step"] == saved["step"] + 1
    if after["epoch"] == saved["epoch"]:
        (shard,) = after["shards"]
        assert shard["sums"]["counts"][1] == seen + shard["recent"]["counts"][1] + 64
    for process in torchrun("resume", str(folder), f"trainer.max_steps={saved['step'] + 30}", cwd=tmp_path):
        finish(process)
    assert results(folder)["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["optim.lrr=1"], 2, "error: optim.lrr: no such key"),
        (["-m", "seed=0,1"], 2, "error: torchrun: its processes train one run together"),
        (["hydra.mode=MULTIRUN", "seed=0,1"], 2, "error: torchrun: its processes train one run together"),
        (["--help"], 0, "python -m runner"),
        (["device.name=cuda:0"], 2, "error: device.name: found 'cuda:0'; allowed under torchrun"),
        (["components", "loss", "huber"], 0, "huber"),
        ([*TINY, "dry_run=true"], 0, "dry run: nothing was created"),
    ],
)
def test_only_the_first_process_runs_other_commands(
    tmp_path: Path, torchrun: Start, arguments: list[str], code: int, output: str
) -> None:
    first, second = torchrun(*arguments, cwd=tmp_path)
    assert output in finish(first, code)
    assert finish(second, code) == ""
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_batch_with_fewer_samples_than_processes_raises(tmp_path: Path, torchrun: Start) -> None:
    first, second = torchrun(*TINY, "trainer.batch_size=1294", cwd=tmp_path)
    assert "trainer.batch_size: found 1294, which leaves 1 samples for the last batch" in finish(first, 1)
    finish(second, 1)


def test_resuming_a_sweep_under_torchrun_raises(tmp_path: Path, torchrun: Start) -> None:
    finish(start("-m", *TINY, "seed=0,1", cwd=tmp_path))
    first, second = torchrun("resume", str(only_run(tmp_path)), cwd=tmp_path)
    assert "error: torchrun: its processes train one run together" in finish(first, 2)
    assert finish(second, 2) == ""


def test_validation_split_with_fewer_samples_than_processes_is_evaluated(tmp_path: Path, torchrun: Start) -> None:
    small = ["dataset=line", "dataset.val_share=0.02", "dataset.test_share=0.2"]
    arguments = ["experiment=line", *small, "trainer.epochs=2"]
    (tmp_path / "alone").mkdir()
    finish(start(*arguments, cwd=tmp_path / "alone"))
    for process in torchrun(*arguments, cwd=tmp_path, processes=3):
        finish(process)
    alone, together = only_run(tmp_path / "alone"), only_run(tmp_path)
    assert results(together)["val"]["loss"] == pytest.approx(results(alone)["val"]["loss"], rel=1e-4)


def test_exception_in_one_process_is_reported_with_traceback(tmp_path: Path, torchrun: Start) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "faulty.yaml").write_text("name: faulty\n")
    own = ["plugins=[faulty]", "--config-dir", "conf", "model=faulty", "dataset.size=8"]
    first, second = torchrun(*own, cwd=tmp_path)
    output = finish(second, 1)
    assert output.startswith("error: rank 1: Traceback")
    assert "ValueError: on purpose" in output
    output = finish(first, 1)
    assert "cannot communicate" in output
    assert f"rank 1 (process {second.pid} on " in output
    assert "failed: ValueError: on purpose" in output


def test_signal_during_validation_saves_validation_as_the_next_action(tmp_path: Path, torchrun: Start) -> None:
    often = ["trainer.validate_every='1 step'", "trainer.eval_batch_size=1", "trainer.checkpoint.every_epochs=1000"]
    processes = torchrun(*LONG, *often, cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/run.log"))) and trains(only_run(tmp_path)))
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        finish(process, 143)
    assert checkpoint(only_run(tmp_path))["next"] == "validate"
