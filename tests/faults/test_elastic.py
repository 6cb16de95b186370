"""torchrun restarts the ranks of a run after a fault, and the run continues as if nothing had happened."""

import os
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from faults.forked import job, run_jobs
from faults.launch import Torchrun, can_unshare, wait_for
from faults.test_shards import assert_same_bits, only_run
from helpers import checkpoint, equal, results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_unshare(), reason="needs network namespaces, which Linux allows root to make"),
]
LOGGING = '''
"""A dataset whose samples know their index, and a model that logs the samples of each step."""

import os
from pathlib import Path

import torch
from torch import nn

from runner.dataset import Pool, Samples, Spec
from runner.registry import DATASETS, MODELS


@DATASETS.register("known")
class Known:
    def __init__(self):
        self.spec = Spec(
            in_shape=(4,), out_features=2, task="classification",
            example={"x": torch.zeros(4), "index": torch.tensor(0)},
        )

    def load(self):
        x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
        return Pool(Samples({"x": x, "index": torch.arange(400)}, (x.sum(1) > 0).long()))


@MODELS.register("logged")
class Logged(nn.Module):
    def __init__(self, out_features):
        super().__init__()
        hidden = [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)]
        self.layers = nn.Sequential(*hidden, nn.Linear(16, out_features))
        self.register_buffer("step", torch.tensor(0))  # restored from a checkpoint

    def forward(self, x, index):
        if self.training and len(x) > 2:  # not a check of the model
            line = f"{self.step.item()}: {' '.join(map(str, index.tolist()))}"
            with Path(os.environ["SAMPLES"], str(os.getpid())).open("a") as file:
                print(line, file=file)
            self.step += 1
        return self.layers(x)
'''
KNOWN = ["plugins=[known]", "--config-dir", "conf", "dataset=known", "model=logged", "device.name=cpu"]
STEPS = 6000
LONG = ["trainer.epochs=100000", f"trainer.max_steps={STEPS}", "trainer.batch_size=40", "trainer.log_every=50"]
SAVING = [
    "trainer.checkpoint.every_steps=29",
    "trainer.checkpoint.every_epochs=null",
    "trainer.validate_every='500 steps'",
]
SHARDED = ["trainer.shards=4", "device.threads=1", "device.timeout=30", "trainer.ema=0.99", "trainer.clip_norm=1"]


@pytest.fixture
def torchrun() -> Iterator[Callable[..., Torchrun]]:
    """Return a function that starts torchrun, see `Torchrun`; what still runs at the end of the test is killed."""
    started: list[Torchrun] = []

    def start(*arguments: Any, **more: Any) -> Torchrun:
        started.append(Torchrun(*arguments, **more))
        return started[-1]

    yield start
    for each in started:
        each.kill_all()


def write_plugin(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "known.py").write_text(LOGGING)
    for group, name in (("dataset", "known"), ("model", "logged")):
        (folder / "conf" / group).mkdir(parents=True)
        (folder / "conf" / group / f"{name}.yaml").write_text(f"name: {name}\n")


def logged(folder: Path) -> dict[int, list[tuple[int, frozenset[str]]]]:
    """Return the steps and the samples that each process has logged."""
    found: dict[int, list[tuple[int, frozenset[str]]]] = defaultdict(list)
    for file in folder.iterdir():
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # otherwise the process was killed while it wrote the line
                step, _, samples = line.partition(": ")
                found[int(file.name)].append((int(step), frozenset(samples.split())))
    return found


def saved_step(folder: Path) -> int:
    """Return the newest saved step of the only run below a folder; 0 before the first."""
    steps = folder.glob("outputs/*/*/checkpoints/step-*.pt")
    return max([int(path.stem.removeprefix("step-")) for path in steps], default=0)


def undisturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_plugin(folder)
    (folder / "samples").mkdir()
    monkeypatch.setenv("SAMPLES", str(folder / "samples"))
    assert run_jobs([job(folder, 1, [*KNOWN, *LONG, *SAVING, *SHARDED])]) == [[0]]
    return only_run(folder)


@pytest.mark.parametrize("seed", [1, 2])
def test_run_with_25_killed_ranks_and_changing_world_sizes_equals_the_undisturbed_run(
    tmp_path: Path, torchrun: Callable[..., Torchrun], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    whole = undisturbed(tmp_path / "whole", monkeypatch)
    folder, draw = tmp_path / "killed", random.Random(seed)
    write_plugin(folder)
    (folder / "samples").mkdir()
    monkeypatch.setenv("SAMPLES", str(folder / "samples"))
    kills, ranks = 0, set[int]()
    command = [*KNOWN, *LONG, *SAVING, *SHARDED]
    for size, most in ((2, 9), (4, 7), (2, 9)):
        options = ["--standalone", f"--nproc_per_node={size}", f"--max-restarts={most}"]
        agent = torchrun(folder, options, command)
        for _ in range(most):
            wait_for(lambda: len(agent.ranks()) == size, agent)  # noqa: B023
            ahead = saved_step(folder) > STEPS * kills / 25  # on a fast machine, it would end before the last kill
            time.sleep(draw.uniform(0, 0.5 if ahead else 4))
            rank = draw.randrange(size)
            pid = agent.ranks().get(rank)
            if agent.process.poll() is None and pid is not None:
                os.kill(pid, signal.SIGKILL)
                kills, ranks = kills + 1, ranks | {rank}
                wait_for(lambda: pid not in agent.ranks().values(), agent)  # noqa: B023
        if size != 2 or command[0] != "resume":
            wait_for(lambda: bool(list(folder.glob("outputs/*/*/checkpoints/last.pt"))), agent)
        if (size, command[0]) != (2, "resume"):
            agent.kill_all()
        command = ["resume", str(only_run(folder))]
    assert agent.wait() == 0, agent.output()
    assert kills == 25
    assert 0 in ranks
    assert len(ranks) > 1
    assert_same_bits(whole, only_run(folder))
    plan = {entry for entries in logged(tmp_path / "whole" / "samples").values() for entry in entries}
    done = logged(folder / "samples")
    for entries in done.values():
        assert len(set(entries)) == len(entries)  # no sample twice
        assert set(entries) <= plan
    assert {entry for entries in done.values() for entry in entries} == plan  # none lost


def test_restarted_run_without_shards_equals_the_undisturbed_run(
    tmp_path: Path, torchrun: Callable[..., Torchrun]
) -> None:
    arguments = ["device.name=cpu", "model=mlp", "model.dropout=0.3", "trainer.epochs=40", "model.norm=batch"]
    arguments += ["trainer.checkpoint.every_steps=7"]
    whole = torchrun(make(tmp_path / "whole"), ["--standalone", "--nproc_per_node=2"], arguments)
    assert whole.wait() == 0, whole.output()
    folder = make(tmp_path / "killed")
    agent = torchrun(folder, ["--standalone", "--nproc_per_node=2", "--max-restarts=2"], arguments)
    for rank in (0, 1):
        wait_for(lambda: bool(list(folder.glob("outputs/*/*/checkpoints/last.pt"))), agent)
        wait_for(lambda: results(only_run(folder))["resumed"] == rank, agent)  # noqa: B023
        time.sleep(1)
        pid = agent.ranks()[rank]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in agent.ranks().values(), agent)  # noqa: B023
    assert agent.wait() == 0, agent.output()
    assert results(only_run(folder))["resumed"] == 2
    assert equal(checkpoint(only_run(folder)), checkpoint(only_run(tmp_path / "whole")))
    assert list((folder / "outputs" / ".torchrun").iterdir()) == []


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_diverged_run_is_not_trained_again_after_a_restart(tmp_path: Path, torchrun: Callable[..., Torchrun]) -> None:
    arguments = ["device.name=cpu", "optim.lr=1e38", "trainer.log_every=1"]
    agent = torchrun(tmp_path, ["--standalone", "--nproc_per_node=2", "--max-restarts=1"], arguments)
    assert agent.wait() == 1, agent.output()
    assert "diverged before the restart" in agent.output()
    assert results(only_run(tmp_path))["status"] == "diverged"


def test_stopped_rank_is_named_within_the_timeout(tmp_path: Path, torchrun: Callable[..., Torchrun]) -> None:
    arguments = ["device.name=cpu", "device.timeout=4", "trainer.epochs=10000", "trainer.checkpoint.every_steps=10"]
    agent = torchrun(tmp_path, ["--standalone", "--nproc_per_node=2"], arguments)
    wait_for(lambda: bool(list(tmp_path.glob("outputs/*/*/checkpoints/last.pt"))), agent)
    pid = agent.ranks()[1]
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        wait_for(lambda: f"rank 1 (process {pid} on " in agent.output(), agent, seconds=30)
        assert time.monotonic() - stopped < 4 + 16  # the timeout, and the time for other ranks to report
        assert "does not respond (device.timeout=4)" in agent.output()
    finally:
        agent.kill_all()
    assert results(only_run(tmp_path))["status"] == "failed"


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Return the names of two network namespaces that are connected like two machines, 10.9.0.1 and 10.9.0.2."""
    names = (f"a{os.getpid()}", f"b{os.getpid()}")
    first, second = names
    commands = [f"netns add {first}", f"netns add {second}"]
    commands.append(f"link add v{first} netns {first} type veth peer name v{second} netns {second}")
    for number, name in enumerate(names, start=1):
        commands += [f"-n {name} addr add 10.9.0.{number}/24 dev v{name}"]
        commands += [f"-n {name} link set {device} up" for device in ("lo", f"v{name}")]
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        yield names
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.parametrize("lost", [0, 1])
def test_run_on_two_hosts_continues_on_the_one_that_is_left(
    tmp_path: Path, torchrun: Callable[..., Torchrun], hosts: tuple[str, str], lost: int
) -> None:
    arguments = ["device.name=cpu", "device.threads=1", "device.timeout=20", "model=mlp", "model.dropout=0.2"]
    arguments += ["trainer.shards=4", "trainer.epochs=80", "trainer.checkpoint.every_steps=20"]
    # The store of the rendezvous is on the host that remains, as torchrun requires.
    store = f"10.9.0.{2 - lost}:29500"
    started = []
    for number, name in enumerate(hosts):
        conf = f"is_host={int(number != lost)},last_call_timeout=5,join_timeout=120"
        options = ["--nnodes=1:2", "--nproc_per_node=2", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=test"]
        options += [f"--rdzv-endpoint={store}", f"--rdzv-conf={conf}", f"--local-addr=10.9.0.{number + 1}"]
        folder = make(tmp_path / name)
        started.append(torchrun(folder, options, [*arguments, f"output_dir={tmp_path}/outputs"], namespace=name))
    left = started[1 - lost]
    wait_for(lambda: bool(list(tmp_path.glob("outputs/*/*/checkpoints/last.pt"))), left, seconds=120)
    time.sleep(0.5)
    assert len(left.ranks()) == 2
    started[lost].kill_all()
    assert left.wait() == 0, left.output()
    run = only_run(tmp_path)
    assert results(run)["resumed"] == 1
    assert "4 processes" in (run / "run.log").read_text()
    assert "2 processes" in (run / "run.log").read_text()
    whole = tmp_path / "whole"
    assert run_jobs([job(whole, 1, arguments)]) == [[0]]
    assert_same_bits(only_run(whole), run)
