"""Tests of the recipes in conf/experiment/ and the results that they must reach."""

import csv
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from helpers import checkpoint, idx, metrics_table, results
from runner import cli
from runner.config.compose import compose_config
from runner.config.composition import CONF
from runner.dataset import Spec
from runner.dataset.digits import Digits
from runner.dataset.edges import KERNEL
from runner.dataset.parabola import Parabola
from runner.errors import ConfigError
from runner.training.checks.check import check
from runner.training.setup.build import build, build_model


@pytest.fixture
def experiment(workdir: Path) -> Callable[..., Path]:
    """Return a function that runs a recipe and returns the run folder."""

    def go(name: str, *overrides: str) -> Path:
        assert cli.main([f"experiment={name}", "device.threads=1", *overrides]) == 0
        return max(workdir.glob("outputs/*/*"), key=lambda folder: folder.stat().st_mtime_ns)

    return go


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = checkpoint(folder, "best.pt")["model"]
    return found


def write_idx_digits(folder: Path) -> None:
    """Write the bundled digits as the four files of MNIST, scaled to 28x28: 1,437 training and 360 test images."""
    images, labels = Digits(size=28).load().samples
    assert isinstance(images, Tensor)
    # Shuffled, because other people wrote the last images.
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[shuffled], labels[shuffled]
    for part, chosen in (("train", slice(0, 1437)), ("t10k", slice(1437, None))):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images[chosen, 0]))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels[chosen].to(torch.uint8)))


def losses(folder: Path) -> list[float]:
    return [float(row.split(",")[2]) for row in metrics_table(folder)[1:]]


def test_small_lenet_has_ten_parameter_tensors() -> None:
    parts = build(compose_config(["experiment=lenet_small"]))
    assert [tuple(parameter.shape) for parameter in parts.model.parameters()] == [
        *((6, 1, 3, 3), (6,), (16, 6, 3, 3), (16,), (120, 576), (120,), (84, 120), (84,), (10, 84), (10,)),
    ]


def test_hand_written_update_rule_overfits_one_random_image(experiment: Callable[..., Path]) -> None:
    found = losses(experiment("one_image", "trainer.epochs=5"))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.1 * found[0]
    parts = build(compose_config(["experiment=one_image"]))
    bias = parts.model.get_parameter("conv1.bias")
    assert bias.grad is None
    inputs, targets = next(parts.train.epoch())
    assert (tuple(inputs.shape), tuple(targets.shape)) == ((1, 1, 32, 32), (1, 10))
    parts.loss(parts.model(inputs), targets).backward()
    assert bias.grad is not None
    assert bias.grad.abs().sum() > 0


@pytest.mark.parametrize("optim", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("loss", ["mse", "l1", "cross_entropy"])
def test_each_optimizer_trains_with_each_loss(runner: Callable[..., Path], optim: str, loss: str) -> None:
    found = losses(runner(f"optim={optim}", f"loss={loss}", "optim.lr=0.005", "trainer.epochs=4"))
    assert found[-1] < found[0]


def test_lenet_accepts_color_images() -> None:
    parts = build(compose_config(["model=lenet"]))
    assert len(list(parts.model.parameters())) == 10
    assert parts.model.get_parameter("fc1.weight").shape == (120, 400)
    color = Spec("classification", in_shape=(3, 32, 32), out_features=10)
    assert build_model(compose_config(["model=lenet"]), color)(torch.zeros(64, 3, 32, 32)).shape == (64, 10)


def test_lenet_mnist_recipe_trains_on_idx_files(experiment: Callable[..., Path], workdir: Path) -> None:
    write_idx_digits(workdir)
    folder = experiment("lenet_mnist", "dataset.root=.", "trainer.log_every=100")
    config = (folder / "config.yaml").read_text()
    assert "batch_size: 4" in config
    assert results(folder)["epoch"] == 2
    assert set(results(folder)["test"]) == {"loss", "accuracy"}


def test_log_contains_recall_per_class(experiment: Callable[..., Path]) -> None:
    log = (experiment("imbalanced", "trainer.epochs=2") / "run.log").read_text()
    assert re.search(r"recall   0 \d\.\d\d  1 \d\.\d\d .* 9 \d\.\d\d", log, re.DOTALL)


def test_folds_are_disjoint_complete_and_stratified(runner: Callable[..., Path], workdir: Path) -> None:
    sets = [build(compose_config(["dataset.folds=5", f"dataset.fold={fold}"])).test.source for fold in range(5)]
    images = [tuple(image.flatten().tolist()) for source in sets for image in source.inputs]  # type: ignore[attr-defined]
    everything = Digits().load().samples.inputs
    assert isinstance(everything, Tensor)
    assert sorted(images) == sorted(tuple(image.flatten().tolist()) for image in everything)
    for source in sets:
        counts = source.targets.bincount()  # type: ignore[attr-defined]
        assert counts.max() - counts.min() <= 3  # each class has 174 to 183 samples in total


def test_parameter_groups_are_matched_by_name_and_logged(experiment: Callable[..., Path]) -> None:
    folder = experiment("perceptron_groups", "trainer.epochs=2")
    log = (folder / "run.log").read_text()
    assert re.search(r"group +lr 0\.01: layer1\.W, layer2\.W", log)
    assert re.search(r"group +lr 1e-05: layer1\.b, layer2\.b", log)
    found = losses(folder)
    assert found[-1] < found[0]


@pytest.mark.slow
def test_convolution_learns_the_kernel(experiment: Callable[..., Path]) -> None:
    folder = experiment("edge_kernel")
    assert (weights(folder)["conv.weight"][0, 0] - KERNEL).abs().max() < 0.02
    assert (folder / "plots" / "kernel.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_recurrent_networks_learn_digits_row_by_row(experiment: Callable[..., Path], kind: str) -> None:
    assert results(experiment(f"{kind}_digits"))["test"]["accuracy"] >= 0.95


@pytest.mark.slow
def test_two_hidden_units_fit_the_parabola(experiment: Callable[..., Path]) -> None:
    folder = experiment("parabola")
    assert results(folder)["step"] == 100_000
    assert results(folder)["parameters"] == 7
    parts = build(compose_config(["experiment=parabola"]))
    x, y = Parabola().load().samples
    assert isinstance(x, Tensor)
    for name in ("best.pt", "last.pt"):
        parts.load_weights(checkpoint(folder, name))
        assert (parts.model(x) - y).abs().max() < 0.01
    assert "microseconds per step" in (folder / "run.log").read_text()
    assert (folder / "plots" / "fit.png").stat().st_size > 1000


def test_slope_and_intercept_of_the_line_are_recovered(experiment: Callable[..., Path]) -> None:
    found = weights(experiment("line"))
    assert abs(found["w"].item() - 2) < 0.05
    assert abs(found["b"].item() - 3) < 0.05
    slow = experiment("line", "optim.lr=0.015", "trainer.max_steps=200")
    assert 0 < weights(slow)["w"].item() < 2
    assert losses(slow) == sorted(losses(slow), reverse=True)


@pytest.mark.slow
def test_mnist_cnn_learns_digits_from_idx_files(experiment: Callable[..., Path], workdir: Path) -> None:
    write_idx_digits(workdir)
    folder = experiment("mnist_cnn", "dataset.root=.", "dataset.repeat=10")
    assert results(folder)["test"]["accuracy"] >= 0.97
    with (folder / "metrics.csv").open(newline="") as file:
        assert [float(row["lr"]) for row in csv.DictReader(file)] == [0.025, 0.025]
    parts = build(compose_config(["experiment=mnist_cnn", "dataset.root=."]))
    assert [tuple(parameter.shape) for parameter in parts.model.parameters()] == [
        *((32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 9216), (128,), (10, 128), (10,)),
    ]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


SMALL = ["trainer.epochs=1", "trainer.batch_size=500", "trainer.eval_batch_size=1000", "dataset.repeat=1"]
GROUPS = ("model", "loss", "optim", "scheduler", "dataset")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_combination_trains_or_is_rejected_with_a_reason(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    chance = random.Random(seed)
    chosen = [f"{group}={chance.choice(options(group))}" for group in GROUPS]
    chosen += [chance.choice(["trainer.ema=0.9", "trainer.accumulate=2", "trainer.clip_norm=1", "seed=3"])]
    shape = ["dataset.size=16"] if any(name in chosen[4] for name in ("digits", "mnist", "cifar")) else []
    try:
        config = compose_config([*chosen, *shape, *SMALL])
        check(config)
        # The files of these datasets do not exist here.
        trains = not re.search("mnist$|cifar10|image_folder|csv", chosen[4])
    except ConfigError:
        trains = False
    code = cli.main([*chosen, *shape, *SMALL, "device.threads=1"])
    text = capsys.readouterr()
    assert "Traceback" not in text.out + text.err
    if trains:
        assert code == 0, text.out + text.err
        folder = max(Path("outputs").glob("*/*"))
        assert torch.isfinite(torch.tensor(results(folder)["train"]["loss"]))
    else:
        assert code in (1, 2)
        assert "error: " in text.out + text.err


@pytest.mark.slow
def test_gpt_learns_more_than_frequencies_and_continues_a_prompt(
    experiment: Callable[..., Path], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = experiment("gpt_text")
    assert results(folder)["test"]["perplexity"] <= 6
    (workdir / "prompt.txt").write_text("The statement\n")
    capsys.readouterr()
    assert cli.main(["predict", str(folder), "prompt.txt", "--output", "out.json"]) == 0
    ((row),) = json.loads((workdir / "out.json").read_text())
    assert row["text"].startswith("The statement")
    assert len(row["text"]) == len("The statement") + 200


@pytest.mark.slow
def test_unet_segments_shapes_and_writes_masks(experiment: Callable[..., Path], workdir: Path) -> None:
    folder = experiment("unet_shapes")
    assert results(folder)["test"]["jaccard_index"] >= 0.9
    assert (folder / "plots" / "examples.png").exists()
    Image.new("RGB", (64, 64), (30, 30, 30)).save(workdir / "plain.png")
    assert cli.main(["predict", str(folder), "plain.png", "--output", "masks.csv"]) == 0
    (row,) = csv.DictReader((workdir / "masks.csv").read_text().splitlines())
    mask = Image.open(row["image"])
    assert (mask.size, mask.mode) == ((64, 64), "L")
    share = (np.array(mask) == 0).mean()
    assert float(row["share(background)"]) == share > 0.5


@pytest.mark.slow
def test_autoencoder_reconstructs_digits(experiment: Callable[..., Path], workdir: Path) -> None:
    folder = experiment("autoencoder_digits")
    assert results(folder)["test"]["r2"] >= 0.95
    image = Digits(32).load().samples.inputs[0, 0]
    Image.fromarray(image.numpy()).save(workdir / "digit.png")
    assert cli.main(["predict", str(folder), "digit.png", "--output", "rebuilt.csv"]) == 0
    (row,) = csv.DictReader((workdir / "rebuilt.csv").read_text().splitlines())
    assert float(row["mse"]) < 0.1
    rebuilt = torch.from_numpy(np.array(Image.open(row["image"]))).float()
    assert (rebuilt - image).abs().mean() < 20


@pytest.mark.slow
def test_several_digits_are_found_in_a_picture(experiment: Callable[..., Path]) -> None:
    folder = experiment("multilabel_digits")
    assert results(folder)["test"]["f1"] >= 0.9
    assert (folder / "plots" / "examples.png").exists()


@pytest.mark.slow
def test_pretrained_features_beat_training_from_scratch(experiment: Callable[..., Path]) -> None:
    pretrained = experiment("pretrain_digits")
    assert results(pretrained)["test"]["accuracy"] >= 0.97
    tuned = experiment("finetune_digits", f"init.from={pretrained}")
    scratch = experiment("finetune_digits", "init.freeze=[]")
    assert results(tuned)["test"]["accuracy"] >= 0.88
    assert results(tuned)["test"]["accuracy"] > results(scratch)["test"]["accuracy"] + 0.03
    assert all(torch.equal(weights(tuned)[name], weights(pretrained)[name]) for name in ("conv1.weight", "conv2.bias"))
