"""Tests of all datasets from config to batches: sources, folds, checks, and complete runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers import checkpoint, equal, idx, metrics_table, numbered, results
from runner import cli
from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.dataset import Pool, Spec, cifar10
from runner.dataset.cifar10 import TEST, TRAIN
from runner.dataset.download import Published
from runner.errors import ConfigError
from runner.registry import DATASETS
from runner.training.checks.check import check
from runner.training.setup.build import build
from runner.training.setup.build_data import build_dataset, split_dataset

PICTURES = ["digits", "imbalanced_digits", "mnist", "fashion_mnist", "cifar10", "image_folder"]
CLASSES = [*PICTURES, "csv"]
NUMBERS = ["parabola", "line", "edges", "sine", "random_pairs"]
OTHERS = {  # datasets of other tasks, with components that fit them
    "text": ["model=gpt", "model.depth=1", "loss=cross_entropy"],
    "shapes": ["model=unet", "loss=cross_entropy"],
    "multilabel_digits": ["model=mlp", "loss=bce_with_logits"],
}
SMALL = {name: ["dataset.size=8"] for name in [*PICTURES, "edges"]} | {
    "csv": ["dataset.target=kind"],
    "parabola": ["dataset.repeat=3"],
    "line": ["dataset.val_share=0.2", "dataset.test_share=0.2"],
    "sine": ["dataset.waves=60", "dataset.length=8"],
    "random_pairs": ["dataset.pairs=20"],
    "text": ["dataset.stride=2000"],
    "shapes": ["dataset.size=16", "dataset.images=40"],
    "multilabel_digits": ["dataset.size=16", "dataset.images=40"],
}
SHARES = {"image_folder": ["dataset.test_share=0.2"]}


@pytest.fixture
def datasets(workdir: Path) -> Path:
    """Return a folder with small files for all datasets that read files, where their configs expect them."""
    draw = torch.Generator().manual_seed(0)
    for folder in ("MNIST", "FashionMNIST"):
        raw = workdir / "data" / folder / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 60), ("t10k", 20)):
            images = torch.randint(0, 256, (count, 28, 28), generator=draw, dtype=torch.uint8)
            (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(torch.arange(count, dtype=torch.uint8) % 10))
    (workdir / "data" / cifar10.FOLDER).mkdir()
    for name in TRAIN + TEST:
        records = torch.randint(0, 256, (20, cifar10.RECORD), generator=draw, dtype=torch.uint8)
        records[:, 0] = torch.arange(20) % 10
        (workdir / "data" / cifar10.FOLDER / name).write_bytes(records.numpy().tobytes())
    for number in range(20):
        path = workdir / "data" / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (number, 255 * (number % 2), 30)).save(path)
    rows = torch.randn(60, 2, generator=draw).tolist()
    lines = [f"{a},{b},{'big' if a > b else 'small'}" for a, b in rows]
    (workdir / "data" / "table.csv").write_text("\n".join(["a,b,kind", *lines]))
    return workdir


def composed(name: str, *overrides: str) -> Config:
    loss = "cross_entropy" if name in CLASSES else "mse"
    fitting = OTHERS.get(name, ["model=mlp", "model.hidden=[8]", f"loss={loss}"])
    small = ["trainer.batch_size=16", "device=cpu", *SMALL[name], *SHARES.get(name, [])]
    return compose_config([f"dataset={name}", *fitting, *small, *overrides])


def test_all_datasets_are_tested() -> None:
    assert sorted([*CLASSES, *NUMBERS, *OTHERS]) == DATASETS.names()


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS, *OTHERS])
def test_all_sources_give_equal_batches_that_match_the_spec(datasets: Path, name: str) -> None:
    ways = [["dataset.in_memory=true"], *(["dataset.in_memory=false", f"dataset.workers={n}"] for n in (0, 2))]
    first, *others = (build(composed(name, *way)) for way in ways)
    check(composed(name))
    for inputs, targets in first.train.epoch(1):
        assert inputs.shape[1:] == first.spec.in_shape
        assert inputs.dtype == (torch.int64 if name == "text" else torch.float32)
        if first.spec.task in ("regression", "multilabel"):
            assert (targets.shape[1:], targets.dtype) == ((first.spec.out_features,), torch.float32)
        else:
            assert targets.dtype == torch.int64
            assert len(first.spec.classes) == first.spec.out_features > targets.max()
    for other in others:
        for split in ("train", "val", "test"):
            pairs = zip(getattr(first, split).epoch(1), getattr(other, split).epoch(1), strict=True)
            assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in pairs)


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS, *OTHERS])
def test_five_folds_partition_the_samples_and_are_stratified(datasets: Path, name: str) -> None:
    parts = []
    for fold in range(5):
        config = composed(name, "dataset.folds=5", f"dataset.fold={fold}")
        parts.append(split_dataset(config, build_dataset(config)))
    total = sum(len(part.test.targets) for part in parts)
    for part in parts:
        apart = part.train.targets if part.train is part.val else torch.cat([part.train.targets, part.val.targets])
        assert len(apart) + len(part.test.targets) == total
        if name in CLASSES:
            everything, tested = torch.cat([apart, part.test.targets]).bincount(), part.test.targets
            counts = tested.bincount(minlength=len(everything))
            assert ((counts - everything / 5).abs() <= 1).all()


class Own:
    """A dataset of a user with a test set of its own.

    Args:
        has_test: whether its spec says so.
    """

    def __init__(self, has_test: bool) -> None:
        self.spec = Spec("classification", in_shape=(2,), out_features=3, has_test=has_test)

    def load(self) -> Pool:
        return Pool(numbered(100), numbered(40))


@pytest.mark.parametrize(
    ("has_test", "overrides", "warned"),
    [
        (False, [], True),
        (False, ["dataset.test_share=null"], False),
        (False, ["dataset.folds=5", "dataset.fold=0"], False),
        (True, [], False),
    ],
)
def test_unused_test_set_is_reported_unless_the_spec_mentions_it(
    caplog: pytest.LogCaptureFixture, has_test: bool, overrides: list[str], warned: bool
) -> None:
    splits = split_dataset(compose_config(["dataset=digits", *overrides]), Own(has_test))
    assert ("dataset.test_share=0.2: the 40 test samples of dataset=digits are not used" in caplog.text) == warned
    if warned:
        assert splits.test.size == 20


def test_table_inputs_are_standardized(datasets: Path) -> None:
    parts = build(composed("csv", "trainer.batch_size=100"))
    ((inputs, _),) = parts.train.epoch()
    torch.testing.assert_close(inputs.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(2))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["dataset=digits", "dataset.test_share=null"],
            "dataset.test_share: found null, and dataset=digits has no test set of its own: ",
        ),
        (["dataset=image_folder"], "dataset=image_folder: root: found 'data/pictures': there is no such folder"),
        (["dataset=csv"], "dataset=csv: path: found 'data/table.csv': there is no such file"),
        (["dataset.augment.shift=-1"], "dataset.augment.shift: found -1; Input should be greater than or equal to 0"),
        (["dataset.augment.erase=2"], "dataset.augment.erase: found 2"),
        (["+dataset.augment.flop=true"], "dataset.augment.flop: no such key; allowed: .* Did you mean flip?"),
        (["dataset.repeat=0"], "dataset.repeat: found 0; Input should be greater than or equal to 1"),
        (
            ["dataset=edges", "loss=mse", "model=mlp", "dataset.augment={flip: true}"],
            "dataset.augment: for the classification of images only; dataset=edges is for regression",
        ),
    ],
)
def test_invalid_values_are_rejected(workdir: Path, overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose_config(overrides))
    (line,) = caught.value.problems
    head, _, tail = problem.partition(".* ")
    assert line.startswith(head)
    assert tail in line


def test_folder_without_a_test_split_requires_test_share(datasets: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset=image_folder has no test set .* set dataset\.test_share=0\.2"):
        check(compose_config(["dataset=image_folder"]))
    check(compose_config(["dataset=image_folder", "dataset.test_share=null", "dataset.val_share=null"]))


@pytest.mark.parametrize("augment", ["null", "{}", "{shift: 0}"])
def test_augmentation_without_effect_is_not_built(tiny: Callable[..., Config], augment: str) -> None:
    assert build(tiny(f"dataset.augment={augment}")).train.augment is None


def test_only_training_images_are_augmented(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("dataset.augment={shift: 1, erase: 0.5}"))
    assert parts.train.augment is not None
    assert (parts.val.augment, parts.test.augment) == (None, None)


@pytest.mark.parametrize(
    "overrides",
    [
        ["dataset=parabola", "dataset.repeat=7", "trainer.batch_size=4", "loss=mse"],
        ["dataset=parabola", "dataset.repeat=18", "trainer.batch_size=32", "loss=mse"],
        ["dataset.size=8", "dataset.augment={shift: 1, flip: true, erase: 0.5}", "trainer.batch_size=72"],
    ],
    ids=["repeat", "whole", "augment"],
)
def test_run_interrupted_within_an_epoch_resumes_exactly(workdir: Path, overrides: list[str]) -> None:
    usual = [*overrides, "model=mlp", "model.hidden=[8]", "device=cpu", "device.threads=1", "logger=none"]
    for name, steps in (("whole", "null"), ("cut", "25")):
        assert cli.main([*usual, f"name={name}", "trainer.epochs=2", f"trainer.max_steps={steps}"]) == 0
    (whole,), (cut,) = (list(workdir.glob(f"outputs/*/*_{name}")) for name in ("whole", "cut"))
    assert results(cut)["step"] == 25
    assert cli.main(["resume", str(cut), "trainer.max_steps=null"]) == 0
    assert results(cut)["step"] == results(whole)["step"] == 36
    left, right = checkpoint(whole), checkpoint(cut)
    assert equal(left["model"], right["model"])
    assert equal(left["optimizer"], right["optimizer"])
    assert metrics_table(whole)[-1] == metrics_table(cut)[-1]


def test_text_column_is_rejected_before_the_run_folder_is_created(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{number},{'red' if number % 3 else 'blue'},{number % 2}\n" for number in range(40))
    (workdir / "table.csv").write_text(f"size,color,kind\n{rows}")
    choices = ["dataset=csv", "dataset.path=table.csv", "dataset.target=kind", "model=mlp", "device.threads=1"]
    classes = ["dataset.task=classification", "trainer.epochs=1"]
    assert cli.main([*choices, *classes]) == 2
    message = "table.csv: line 2, column 'color': found 'blue', expected a number; to leave the column out: "
    assert f"{message}dataset.drop=[color]" in capsys.readouterr().err
    assert [path.name for path in workdir.iterdir()] == ["table.csv"]
    assert cli.main([*choices, *classes, "dataset.drop=[color]"]) == 0
    (folder,) = workdir.glob("outputs/*/*")
    capsys.readouterr()
    assert cli.main(["predict", str(folder), "table.csv"]) == 0  # which contains the target and a dropped column
    assert len(capsys.readouterr().out.splitlines()) == 41


@pytest.fixture
def prices(workdir: Path) -> list[str]:
    """Write a table with prices of about 300,000 and return the arguments that train on it."""
    draw = torch.Generator().manual_seed(0)
    rows = [(rooms, age, 2e5 + 4e4 * rooms - 1e3 * age) for rooms, age in torch.rand(300, 2, generator=draw).tolist()]
    (workdir / "prices.csv").write_text("rooms,age,price\n" + "".join(f"{a},{b},{c + 1e5}\n" for a, b, c in rows))
    choices = ["dataset=csv", "dataset.path=prices.csv", "dataset.target=price", "loss=mse", "optim=adam"]
    return [*choices, "optim.lr=0.01", "model=mlp", "model.hidden=[16]", "device.threads=1", "trainer.epochs=30"]


@pytest.mark.parametrize("more", [[], ["trainer.ema=0.9", "trainer.precision=bf16"]], ids=["plain", "ema and bf16"])
def test_prices_are_predicted_in_their_own_unit(
    workdir: Path, prices: list[str], more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*prices, *more]) == 0
    (folder,) = workdir.glob("outputs/*/*")
    test = results(folder)["test"]
    assert test["r2"] > 0.5
    assert 10 < test["mae"] < 10_000
    assert test["loss"] < 1
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == test
    assert cli.main(["predict", str(folder), "prices.csv"]) == 0
    found = [float(line.split(",")[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    prices_told = [float(line.split(",")[2]) for line in Path("prices.csv").read_text().splitlines()[1:]]
    assert sum(abs(a - b) for a, b in zip(found, prices_told, strict=True)) / len(found) < 10_000


def test_evaluation_on_another_table_uses_the_unit_of_the_training_table(
    workdir: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(prices) == 0
    (folder,) = workdir.glob("outputs/*/*")
    lines = Path("prices.csv").read_text().splitlines()
    dear = sorted(lines[1:], key=lambda line: float(line.split(",")[2]))[-60:]
    Path("dear.csv").write_text("\n".join([lines[0], *dear]))
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder), "dataset.path=dear.csv"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["mae"] < 10_000


def test_interrupted_regression_run_resumes_exactly(workdir: Path, prices: list[str]) -> None:
    for name, steps in (("whole", "null"), ("cut", "3")):
        assert cli.main([*prices, f"name={name}", "trainer.epochs=2", f"trainer.max_steps={steps}"]) == 0
    (whole,), (cut,) = (list(workdir.glob(f"outputs/*/*_{name}")) for name in ("whole", "cut"))
    assert cli.main(["resume", str(cut), "trainer.max_steps=null"]) == 0
    assert equal(checkpoint(whole)["model"], checkpoint(cut)["model"])
    assert metrics_table(whole)[-1] == metrics_table(cut)[-1]


def test_exported_model_predicts_in_the_unit_of_the_table(workdir: Path, prices: list[str]) -> None:
    assert cli.main([*prices, "trainer.epochs=20"]) == 0
    (folder,) = workdir.glob("outputs/*/*")
    assert cli.main(["export", str(folder), "--format", "torch.export"]) == 0
    module = torch.export.load(folder / "export" / "model.pt2").module()
    outputs = module(torch.tensor([[0.5, 0.5], [0.1, 0.9]]))
    assert ((outputs > 250_000) & (outputs < 350_000)).all()
    description = json.loads((folder / "export" / "model.pt2.json").read_text())
    assert description["output"]["rescale"]["inside"]
    assert description["output"]["rescale"]["mean"] > 250_000


def test_failed_download_leaves_no_run_folder(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(source: Published, target: Path) -> None:
        raise OSError("no network")

    monkeypatch.setattr("runner.dataset.download._fetch", refuse)
    for name, file in (("mnist", "train-images-idx3-ubyte"), ("cifar10", "cifar-10-binary.tar.gz")):
        assert cli.main([f"dataset={name}", "model=mlp", "dry_run=true"]) == 0
        assert cli.main([f"dataset={name}", "model=mlp"]) == 1
        message = capsys.readouterr().err
        for part in ("no network", str(workdir / "data"), f"{file}", "from https://"):
            assert part in message
    assert not (workdir / "outputs").exists()


def test_sweep_downloads_its_data_before_the_first_job(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "offline.py").write_text(
        "from runner.dataset import download\n"
        "def refuse(source, target):\n"
        "    raise OSError('no network')\n"
        "download._fetch = refuse\n"
    )
    assert cli.main(["-m", "dataset=mnist", "model=mlp", "plugins=[offline]", "seed=0,1"]) == 2
    assert "no network" in capsys.readouterr().err
    assert not (workdir / "outputs").exists()
