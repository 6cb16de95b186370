"""Tests of `verify`: honest runs are equal, and a change in a single place is found."""

import csv
import hashlib
import json
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from helpers import idx
from runner import cli
from runner.config.schema import Config
from runner.dataset.tree import map_tensors
from runner.machine.files import system_lock
from runner.runs import final_test
from runner.runs.folder import fill_run_folder
from runner.runs.request import Request
from runner.runs.run import run
from runner.runs.verify import record as record_module
from runner.runs.verify import verification
from runner.tracking.recorded import read_scalars
from runner.tracking.tracker import Tracker
from runner.training.saving.checkpoint import load_checkpoint, save_checkpoint

SHORT = ["device.threads=1", "trainer.epochs=3", "trainer.log_every=3", "trainer.checkpoint.every_steps=4"]
MLP = ["model=mlp", "model.hidden=[8]"]
DIGITS = [*MLP, "dataset.size=8", "trainer.batch_size=256"]
Tamper = Callable[[Path, random.Random], Any]


class Place:
    """A directory with small files of data, in which runs are trained."""

    def __init__(self, root: Path) -> None:
        self.root, self.table = root, root / "flowers.csv"
        chance = random.Random(0)
        rows = [
            [f"{chance.gauss(kind, 1):.3f}" for _ in range(4)] + ["abc"[kind]] for kind in range(3) for _ in range(30)
        ]
        self.table.write_text("".join(",".join(row) + "\n" for row in [["p", "q", "r", "s", "species"], *rows]))
        self.images = root / "MNIST" / "raw"
        self.images.mkdir(parents=True)
        random_bytes = torch.Generator().manual_seed(0)
        for part, count in (("train", 60), ("t10k", 20)):
            pixels = torch.randint(256, (count, 28, 28), generator=random_bytes, dtype=torch.uint8)
            (self.images / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
            (self.images / f"{part}-labels-idx1-ubyte").write_bytes(idx((torch.arange(count) % 10).to(torch.uint8)))

    def train(self, *overrides: str, code: int = 0) -> Path:
        """Train a run, check its exit code and return its folder."""
        folder = self.root / "runs"
        before = set(folder.glob("*/*"))
        assert cli.main([*SHORT, f"output_dir={folder}", *overrides]) == code
        (found,) = set(folder.glob("*/*")) - before
        return found

    @property
    def of_table(self) -> list[str]:
        return [*MLP, "dataset=csv", f"dataset.path={self.table}", "dataset.target=species", "trainer.batch_size=16"]

    @property
    def of_images(self) -> list[str]:
        return ["model=lenet", "dataset=mnist", f"dataset.root={self.root}", "dataset.size=28", "trainer.batch_size=16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(final_test, "draw", lambda *arguments: None)
        patch.setattr(sys, "argv", ["runner"])
        yield Place(tmp_path_factory.mktemp("verify"))


@pytest.fixture(scope="module")
def honest(place: Place) -> Path:
    return place.train(*DIGITS, "optim=adam")


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, which a test may tamper with."""
    return shutil.copytree(honest, tmp_path / "copy")


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Return a function that verifies a run, checks the exit code, and returns the report."""

    def go(folder: Path, *arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        code = cli.main(["verify", str(folder), "--format=json", *arguments])
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == (0 if report["equal"] else 1)
        return report

    return go


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the hash and the time of the last change of every file and folder."""
    paths = [folder, *folder.rglob("*")]
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths}
    return {str(path.relative_to(folder)): (digest, path.stat().st_mtime_ns) for path, digest in hashes.items()}


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object], step: int | None = None) -> None:
    """Change the checkpoints of a step, or all of them, and save them with a correct SHA-256."""
    for path in (folder / "checkpoints").glob("*.pt"):
        contents: dict[str, Any] = dict(load_checkpoint(path))
        if step in (None, contents["step"]):
            change(contents)
            save_checkpoint(path, contents)


def nudge(tensors: list[Tensor], chance: random.Random) -> None:
    """Change the last bit of one number."""
    values = chance.choice([tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()])
    index = tuple(chance.randrange(size) for size in values.shape)
    values[index] = torch.nextafter(values[index], torch.tensor(torch.inf))


def numbers_in(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def a_step(folder: Path, chance: random.Random) -> int:
    """Return the step of one of the checkpoints."""
    paths = sorted((folder / "checkpoints").glob("*.pt"))
    return load_checkpoint(chance.choice(paths))["step"]


def a_weight(folder: Path, chance: random.Random) -> None:
    seed = chance.random()
    rewrite(folder, lambda saved: nudge(numbers_in(saved["model"]), random.Random(seed)), a_step(folder, chance))


def a_moment(folder: Path, chance: random.Random) -> None:
    seed = chance.random()
    kept = a_step(folder, chance)
    rewrite(folder, lambda saved: nudge(numbers_in(saved["optimizer"]["state"]), random.Random(seed)), kept)


def a_metric(folder: Path, chance: random.Random) -> None:
    """Change the last digits of a cell of metrics.csv."""
    with (folder / "metrics.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    column = chance.choice([index for index, name in enumerate(head) if name != "seconds" and rows[0][index]])
    row = chance.choice(rows)
    row[column] = (
        str(int(row[column]) + 1)
        if head[column] in ("epoch", "step")
        else repr(float(row[column]) * (1 + 1e-15) + 1e-15)
    )
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def the_seed(folder: Path, chance: random.Random) -> None:
    """Change the seed in config.yaml, and in half of the cases everywhere else too."""
    seed = chance.randrange(1, 1000)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"seed": seed}))
    if chance.random() < 0.5:
        rewrite(folder, lambda saved: saved["config"].update(seed=seed))
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(results | {"seed": seed}))


@contextmanager
def a_sample(place: Place, chance: random.Random, is_table: bool) -> Iterator[None]:
    """Change a number or a label of one sample, until the end of the block."""
    path = place.table if is_table else chance.choice(sorted(place.images.glob("*-ubyte")))
    before = path.read_bytes()
    if is_table:
        lines = before.decode().splitlines()
        line = chance.randrange(1, len(lines))
        cells = lines[line].split(",")
        column = chance.randrange(5)
        cells[column] = "abc"["bca".index(cells[4])] if column == 4 else f"{float(cells[column]) + 0.001:.3f}"
        lines[line] = ",".join(cells)
        path.write_text("\n".join(lines) + "\n")
    else:
        values, is_label = bytearray(before), "labels" in path.name
        index = chance.randrange(8 if is_label else 16, len(values))
        values[index] = (values[index] + 1) % 10 if is_label else (values[index] + 128) % 256
        path.write_bytes(values)
    try:
        yield
    finally:
        path.write_bytes(before)


def test_honest_run_is_equal_and_nothing_in_its_folder_changes(
    honest: Path, verify: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(honest)
    report = verify(honest)
    assert (report["equal"], report["first"], report["last"], report["steps"]) == (True, 0, 18, 18)
    assert set(report["checkpoints"]) == {path.name for path in (honest / "checkpoints").iterdir()}
    # 6 logged steps with 4 scalars each, 3 validations with 2, 3 rows with 7 cells, 2 metrics of the test
    assert report["scalars"] == 6 * 4 + 3 * 2 + 3 * 7 + 2
    assert cli.main(["verify", str(honest)]) == 0
    assert capsys.readouterr().out == "equal: steps 0 to 18 trained again: 53 scalars, 4 checkpoints\n"
    assert digests(honest) == before


def the_results(folder: Path, chance: random.Random) -> None:
    """Cut off the end of results.json."""
    (folder / "results.json").write_text((folder / "results.json").read_text()[:-3])


TAMPERED: dict[str, Tamper] = {"weight": a_weight, "moment": a_moment, "metric": a_metric, "seed": the_seed}


@pytest.mark.parametrize("tamper", [*TAMPERED.values(), the_results])
def test_run_that_was_tampered_with_is_found(copy: Path, verify: Callable[..., dict[str, Any]], tamper: Tamper) -> None:
    tamper(copy, random.Random(1))
    assert not verify(copy)["equal"]


def test_first_weight_that_differs_is_named_with_its_step_and_what_has_changed(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(saved: dict[str, Any]) -> None:
        saved["model"][first][3, 2] += 0.25

    first = next(iter(load_checkpoint(copy / "checkpoints" / "last.pt")["model"]))
    rewrite(copy, change, 18)
    environment = json.loads((copy / "environment.json").read_text())
    environment["packages"]["torch"] = "1.0"
    (copy / "environment.json").write_text(json.dumps(environment))
    capsys.readouterr()
    assert cli.main(["verify", str(copy)]) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"first differs at step 18: {first} in ")
    assert f"largest difference 0.2; torch 1.0 then, {torch.__version__.partition('+')[0]}" in text


@pytest.mark.parametrize("is_table", [True, False])
def test_changed_sample_is_found(place: Place, verify: Callable[..., dict[str, Any]], is_table: bool) -> None:
    folder = place.train(*(place.of_table if is_table else place.of_images), "trainer.epochs=1")
    assert verify(folder)["equal"]
    with a_sample(place, random.Random(2), is_table):
        assert not verify(folder)["equal"]


def test_segment_starts_at_a_checkpoint_and_ends_at_one_within_the_limit(
    honest: Path, copy: Path, verify: Callable[..., dict[str, Any]]
) -> None:
    report = verify(honest, "--from", "16", "--steps", "5")
    assert (report["first"], report["last"]) == (16, 18)
    report = verify(honest, "--from", "0", "--steps", "5")
    assert (report["last"], report["checkpoints"]) == (5, [])
    assert verify(honest, "--from", "random")["first"] in (0, 16)
    rewrite(copy, lambda saved: saved["model"].update({key: value + 1 for key, value in saved["model"].items()}), 16)
    assert not verify(copy, "--from", "16")["equal"]


def test_scalar_of_tensorboard_that_differs_is_named(
    honest: Path, verify: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tampered(folder: Path) -> Any:
        found = read_scalars(folder)
        del found[6]["train/loss"]
        return found

    monkeypatch.setattr(record_module, "read_scalars", tampered)
    (difference,) = verify(honest)["differences"]
    assert (difference["step"], difference["name"], difference["recorded"]) == (6, "train/loss", None)


def test_lengthened_run_is_equal_from_the_change_on(place: Place, verify: Callable[..., dict[str, Any]]) -> None:
    folder = place.train(*DIGITS, "scheduler=cosine", "trainer.max_steps=10")
    assert cli.main(["resume", str(folder), "trainer.max_steps=16"]) == 0
    assert json.loads((folder / "results.json").read_text())["changed"] == [10]
    assert verify(folder, "--from", "12")["equal"]
    report = verify(folder)
    assert (report["equal"], report["last"]) == (True, 16)


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ([], "for the whole run: --from 0 --steps all"),
        ([10], "resumed with other values after step 10: use --from STEP"),
    ],
)
def test_hint_names_the_command_that_trains_the_other_steps(changed: list[int], hint: str) -> None:
    report = verification.Report(first=0, last=10, steps=16, changed=changed)
    assert verification.as_text(report).splitlines()[1] == f"not trained again: steps 11 to 16; {hint}"


@pytest.mark.parametrize("period", ["1", "'2 steps'"])
@pytest.mark.parametrize("step", [6, 8])
def test_interrupted_run_is_equal(
    place: Place, verify: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, step: int, period: str
) -> None:
    def stop(self: Tracker, done: int) -> None:
        if done == step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Tracker, "progress", stop)
    folder = place.train(*DIGITS, f"trainer.validate_every={period}", code=143)
    report = verify(folder)
    assert (report["equal"], report["last"]) == (True, step)
    assert "last.pt" in report["checkpoints"]


def test_run_that_ended_after_its_minutes_is_equal(place: Place, verify: Callable[..., dict[str, Any]]) -> None:
    folder = place.train(*DIGITS, "trainer.max_minutes=0.0001", "trainer.checkpoint.every_minutes=0.00005")
    report = verify(folder)
    assert (report["equal"], report["last"]) == (True, report["steps"])


def test_run_that_its_sweep_stopped_is_equal(
    place: Place, tiny: Callable[..., Config], verify: Callable[..., dict[str, Any]]
) -> None:
    folder = fill_run_folder(place.root / "stopped")
    config = tiny("trainer.epochs=5", "trainer.log_every=2")
    assert run(Request(config, should_stop=lambda epoch: epoch == 3), lambda: folder) == 0
    report = verify(folder)
    assert (report["equal"], report["last"], report["steps"]) == (True, 18, 18)
    assert len(report["checkpoints"]) == len(list(folder.glob("checkpoints/*.pt")))


def test_damaged_checkpoint_is_a_difference(copy: Path, verify: Callable[..., dict[str, Any]]) -> None:
    path = copy / "checkpoints" / "best.pt"
    path.write_bytes(path.read_bytes()[:-200] + bytes(200))
    (difference,) = verify(copy)["differences"]
    assert difference["file"] == "best.pt"
    assert "SHA-256 does not match" in difference["name"]


def test_read_only_run_is_verified(copy: Path, verify: Callable[..., dict[str, Any]]) -> None:
    paths = [copy, *copy.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert verify(copy)["equal"]
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_active_run_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with system_lock(copy / ".lock"):
        assert cli.main(["verify", str(copy)]) == 2
    assert "in use by another process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "7"], "--from: found 7; allowed: 0, 16 (the steps with a checkpoint), random"),
        (["--from", "best"], "--from: found 'best'; allowed: 0, the step of a checkpoint, or random"),
        (["--steps", "0"], "--steps: found '0'; allowed: a number of steps, at least 1, or all"),
    ],
)
def test_bad_options_are_refused(
    honest: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(["verify", str(honest), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_run_of_several_processes_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(copy, lambda saved: saved.update(shards=saved["shards"] * 2))
    assert cli.main(["verify", str(copy)]) == 2
    assert "saved by 2 processes, whose bits one process cannot repeat" in capsys.readouterr().err


HONEST = {
    "adam, dropout": [*DIGITS, "optim=adam", "model.dropout=0.3"],
    "EMA, accumulation, clipping": [*DIGITS, "trainer.ema=0.9", "trainer.accumulate=2", "trainer.clip_norm=1"],
    "augmented, cosine": [*DIGITS, "scheduler=cosine", "dataset.augment.shift=1", "dataset.augment.erase=0.3"],
    "mixup, plateau": [*DIGITS, "scheduler=plateau", "scheduler.interval=epoch", "dataset.augment.mixup=0.2"],
    "validated by steps, early stopping": [
        *DIGITS, "trainer.validate_every='2 steps'", "trainer.early_stopping.patience=2", "optim.lr=0.5",
    ],
    "shards": [*DIGITS, "trainer.shards=2", "model.dropout=0.3"],
    "L-BFGS, whole batches": [*DIGITS, "optim=lbfgs", "trainer.batch_size=2000", "trainer.epochs=6"],
    "bf16, a scheduler by epochs": [
        *DIGITS, "trainer.precision=bf16", "scheduler=exponential", "scheduler.interval=epoch",
    ],
    "streamed, no TensorBoard": [*DIGITS, "dataset.in_memory=false", "logger=none"],
    "LeNet": ["model=lenet", "trainer.batch_size=512", "trainer.epochs=1"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_ten_honest_runs_are_equal(place: Place, verify: Callable[..., dict[str, Any]], name: str) -> None:
    for seed in range(10):
        folder = place.train(*HONEST[name], f"seed={seed}")
        report = verify(folder) if seed % 2 == 0 else verify(folder, "--from", "random", "--steps", "all")
        assert (report["differences"], report["last"]) == ([], report["steps"])


@pytest.fixture(scope="module")
def bases(place: Place) -> list[Path]:
    """Return runs to tamper with."""
    return [
        place.train(*DIGITS, "optim=adam", "model.dropout=0.2", "trainer.ema=0.9"),
        place.train(*DIGITS, "optim.momentum=0.9", "scheduler=cosine", "trainer.checkpoint.keep_last=5"),
        place.train(*place.of_table, "optim=adamw", "trainer.validate_every='3 steps'"),
        place.train(*place.of_images, "optim=rmsprop", "trainer.accumulate=2"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TAMPERED)
def test_twenty_runs_that_were_tampered_with_are_found(
    bases: list[Path], tmp_path: Path, verify: Callable[..., dict[str, Any]], kind: str
) -> None:
    for number in range(20):
        chance = random.Random(number)
        folder = shutil.copytree(bases[number % len(bases)], tmp_path / str(number))
        TAMPERED[kind](folder, chance)
        assert not verify(folder)["equal"], f"{kind} {number}"


@pytest.mark.slow
def test_twenty_changed_samples_are_found(
    place: Place, bases: list[Path], verify: Callable[..., dict[str, Any]]
) -> None:
    for number in range(20):
        is_table = number % 2 == 0
        with a_sample(place, random.Random(number), is_table):
            assert not verify(bases[2 if is_table else 3])["equal"], f"sample {number}"
    assert [verify(folder)["equal"] for folder in bases] == [True] * 4
