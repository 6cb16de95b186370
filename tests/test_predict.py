import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import idx, results
from runner import cli
from runner.checkpoint import save_checkpoint
from runner.dataset.digits import Digits
from runner.predict import read_image


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert cli.main(list(arguments)) == code
    return capsys.readouterr().out


@pytest.fixture
def run(runner: Callable[..., Path]) -> Path:
    """A run that is mostly right."""
    return runner("trainer.epochs=10", "optim.lr=0.1")


def test_evaluate_measures_what_the_run_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "evaluate", str(run)))
    assert found["metrics"] == results(run)["test"]
    assert (found["split"], found["samples"]) == ("test", 359)
    found = json.loads(printed(capsys, "evaluate", str(run), "--split", "val", "--checkpoint", "last"))
    assert found["metrics"] == results(run)["val"]


def test_evaluate_takes_another_dataset(run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randint(0, 256, (50, 28, 28), dtype=torch.uint8)
    labels = (torch.arange(50) % 10).to(torch.uint8)
    for part in ("train", "t10k"):
        (workdir / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (workdir / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    found = json.loads(printed(capsys, "evaluate", str(run), "dataset=mnist", "dataset.root=.", "dataset.size=8"))
    assert (found["dataset"], found["samples"]) == ("mnist", 50)


def test_a_model_of_another_shape_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run), "dataset.size=4"]) == 1
    assert "best.pt: does not fit model=mlp with this dataset" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "x.png"]])
def test_a_hostile_checkpoint_is_refused_and_its_code_never_runs(
    run: Path, workdir: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(workdir / "pwned"),)

    save_checkpoint(workdir / "proved.pt", {"model": Hostile()})
    torch.save({"model": Hostile()}, workdir / "plain.pt")
    for file in ("proved.pt", "plain.pt"):
        assert cli.main([command[0], str(run), *command[1:], "--checkpoint", file]) == 1
        assert f"{file}: " in capsys.readouterr().err
    assert not (workdir / "pwned").exists()


def test_predict_says_what_the_model_says_of_pictures(
    run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, targets = Digits(size=8).load().samples
    assert isinstance(images, torch.Tensor)
    for index in range(100):
        Image.fromarray(images[index, 0].numpy()).save(workdir / f"{index}.png")
    text = printed(capsys, "predict", str(run), *(f"{index}.png" for index in range(100)))
    rows = list(csv.DictReader(text.splitlines()))
    right = [int(row["class"]) == target for row, target in zip(rows, targets[:100].tolist(), strict=True)]
    assert sum(right) >= 90
    for row in rows:
        each = {name: float(value) for name, value in row.items() if name.startswith("p(")}
        assert sum(each.values()) == pytest.approx(1, abs=1e-5)
        assert max(each, key=lambda name: each[name]) == f"p({row['class']})"
        assert float(row["probability"]) == max(each.values())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_a_picture_may_have_any_size_and_mode(workdir: Path, mode: str) -> None:
    grey = Image.linear_gradient("L")  # 256x256, black above, white below
    if mode == "I;16":
        picture = Image.fromarray(
            (torch.arange(256).repeat_interleave(256).view(256, 256) * 257).numpy().astype("uint16")
        )
    else:
        picture = grey.convert(mode)
    name = "picture.tiff" if mode == "CMYK" else "picture.png"
    picture.resize((60, 40)).save(name)
    pixels = read_image(Path(name), (1, 8, 8))
    assert pixels.shape == (1, 8, 8)
    assert pixels.dtype == torch.uint8
    assert pixels[0, 0].float().mean() < 60
    assert pixels[0, 7].float().mean() > 190
    assert read_image(Path(name), (3, 8, 9)).shape == (3, 8, 9)


def test_a_file_that_is_no_picture_is_named_and_skipped(
    run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (8, 8)).save("good.png")
    Path("bad.png").write_text("no picture")
    rows = list(csv.DictReader(printed(capsys, "predict", str(run), "bad.png", "good.png", code=1).splitlines()))
    assert [row["input"] for row in rows] == ["good.png"]


def test_predict_reads_the_rows_of_a_table_and_writes_json(
    run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, row = ",".join(f"pixel{index}" for index in range(64)), ",".join(["0.5"] * 64)
    Path("rows.csv").write_text(f"{header}\n{row}\n{row}\n")
    shown = printed(capsys, "predict", str(run), "rows.csv", "--output", "answers.json")
    assert shown == f"2 predictions: {workdir / 'answers.json'}\n"
    answers = json.loads(Path("answers.json").read_text())
    assert [answer["input"] for answer in answers] == ["rows.csv:2", "rows.csv:3"]
    Path("rows.csv").write_text("1,2\n")
    assert printed(capsys, "predict", str(run), "rows.csv", code=1) == ""


def test_an_output_of_another_kind_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8)).save("good.png")
    assert cli.main(["predict", str(run), "good.png", "--output", "answers.xml"]) == 2
    assert "--output: found '.xml'; allowed: .csv, .json." in capsys.readouterr().err


def test_a_run_without_averaged_weights_is_judged_by_its_own_under_a_config_with_them(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(printed(capsys, "evaluate", str(run), "trainer.ema=0.9"))
    assert found["metrics"] == results(run)["test"]


def test_a_run_with_averaged_weights_is_judged_by_them_under_a_config_without(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = runner("trainer.ema=0.9", "trainer.epochs=3")
    found = json.loads(printed(capsys, "evaluate", str(averaged), "trainer.ema=null"))
    assert found["metrics"] == results(averaged)["test"]
