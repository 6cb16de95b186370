import csv
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import idx, results
from runner import cli
from runner.dataset.digits import Digits
from runner.dataset.image_folder import ImageFolder
from runner.runs.predict import read_inputs, write_rows
from runner.training.saving.checkpoint import save_checkpoint


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert cli.main(list(arguments)) == code
    return capsys.readouterr().out


@pytest.fixture
def run(runner: Callable[..., Path]) -> Path:
    """Return a trained run with good accuracy."""
    return runner("trainer.epochs=10", "optim.lr=0.1")


def test_evaluate_reports_the_metrics_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "evaluate", str(run)))
    assert found["metrics"] == results(run)["test"]
    assert (found["split"], found["samples"]) == ("test", 359)
    found = json.loads(printed(capsys, "evaluate", str(run), "--split", "val", "--checkpoint", "last"))
    assert found["metrics"] == results(run)["val"]


def test_evaluate_accepts_another_dataset(run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randint(0, 256, (50, 28, 28), dtype=torch.uint8)
    labels = (torch.arange(50) % 10).to(torch.uint8)
    for part in ("train", "t10k"):
        (workdir / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (workdir / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    found = json.loads(printed(capsys, "evaluate", str(run), "dataset=mnist", "dataset.root=.", "dataset.size=8"))
    assert (found["dataset"], found["samples"]) == ("mnist", 50)


def test_dataset_of_another_shape_is_rejected(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run), "dataset.size=4"]) == 1
    assert "best.pt: does not fit model=mlp with this dataset" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "x.png"]])
def test_malicious_checkpoint_is_rejected_without_running_code(
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


def test_predictions_equal_the_outputs_of_the_model(
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


def test_file_that_is_not_an_image_is_reported_and_skipped(
    run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (8, 8)).save("good.png")
    Path("bad.png").write_text("no picture")
    rows = list(csv.DictReader(printed(capsys, "predict", str(run), "bad.png", "good.png", code=1).splitlines()))
    assert [row["input"] for row in rows] == ["good.png"]


def test_damaged_image_is_skipped(run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.effect_noise((400, 400), 90).save(name)
    first, second, *rest = Path("b.png").read_bytes().split(b"IDAT")
    Path("b.png").write_bytes(b"IDAT".join([first, second]) + b"\0DAT" + b"IDAT".join(rest))  # SyntaxError in Pillow
    rows = list(csv.DictReader(printed(capsys, "predict", str(run), "a.png", "b.png", "c.png", code=1).splitlines()))
    assert [row["input"] for row in rows] == ["a.png", "c.png"]


def test_folder_is_expanded_to_its_images(run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/deep").mkdir(parents=True)
    Path("empty").mkdir()
    for name in ("b.png", "a.jpg", "deep/c.PNG"):
        Image.new("L", (8, 8)).save(f"pictures/{name}")
    Path("pictures/notes.txt").touch()
    rows = list(csv.DictReader(printed(capsys, "predict", str(run), "pictures").splitlines()))
    assert [row["input"] for row in rows] == [f"pictures/{name}" for name in ("a.jpg", "b.png", "deep/c.PNG")]
    assert cli.main(["predict", str(run), "empty"]) == 1
    assert "empty: no PNG, JPEG or WebP file in this folder" in capsys.readouterr().err


def test_images_are_read_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "a" / "noise.png"
    path.parent.mkdir()
    Image.effect_noise((64, 48), 90).save(path)
    dataset = ImageFolder(str(tmp_path), size=16)
    ((_, picture),) = read_inputs(path, dataset.spec)
    assert torch.equal(picture, dataset.load().samples.inputs[0])


def test_predictions_for_a_table_are_written_as_json(
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


def test_prediction_that_is_not_finite_is_null_in_json(tmp_path: Path) -> None:
    write_rows([{"prediction": math.nan}], tmp_path / "answers.json")
    assert (tmp_path / "answers.json").read_text() == '[\n  {\n    "prediction": null\n  }\n]\n'


def test_unknown_output_format_is_rejected(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8)).save("good.png")
    assert cli.main(["predict", str(run), "good.png", "--output", "answers.xml"]) == 2
    assert "--output: found '.xml'; allowed: .csv, .json." in capsys.readouterr().err


TABLE = "".join(f"{a},{b},{'big' if a > 2 * b else 'small'}\n" for a in range(12) for b in range(6))
WEIGHTS = ["model=mlp", "model.hidden=[8]", "optim=adam", "optim.lr=0.05", "trainer.epochs=30", "device.threads=1"]


@pytest.fixture
def table_run(workdir: Path) -> Path:
    """Return a run on a table with the columns a, b and kind, where kind is "big" if a > 2 b."""
    (workdir / "table.csv").write_text(f"a,b,kind\n{TABLE}")
    arguments = ["dataset=csv", "dataset.path=table.csv", "dataset.target=kind", *WEIGHTS]
    assert cli.main(arguments) == 0
    (folder,) = workdir.glob("outputs/*/*")
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n11,1\n1,5\n",
        "b,a\n1,11\n5,1\n",
        "kind,b,a\nwhatever,1,11\nsmall,5,1\n",
        "11,1\n1,5\n",
        "\ufeff11,1\n\n1,5\n\n",
        "\ufeffb,a\n1,11\n5,1\n",
    ],
    ids=["names", "another order", "with the target", "no names", "mark and blank lines", "mark before names"],
)
def test_table_columns_are_matched_by_name(
    table_run: Path, workdir: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    Path("new.csv").write_text(text, encoding="utf-8")
    rows = list(csv.DictReader(printed(capsys, "predict", str(table_run), "new.csv").splitlines()))
    assert [row["class"] for row in rows] == ["big", "small"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,c\n1,2\n", "unknown: c; missing: b; expected: a, b"),
        ("a,b,c\n1,2,3\n", "unknown: c; expected: a, b"),
        ("a\n1\n", "missing: b; expected: a, b"),
        ("0.5x,9\n1,2\n", "line 1: contains neither numbers nor the names of the columns; unknown: 0.5x, 9;"),
        ("1,2\n3,x\n", "line 2, column '2': found 'x', expected a number"),
        ("b,a\n1,x\n", "line 2, column 'a': found 'x', expected a number"),
        ("1,2,3\n", "found 3 values per row, expected 2: a, b"),
        ("a,b,a\n1,2,3\n", "two columns have the same name in a, b, a"),
    ],
)
def test_table_with_other_columns_is_rejected(
    table_run: Path, workdir: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    Path("new.csv").write_text(text)
    assert cli.main(["predict", str(table_run), "new.csv"]) == 1
    assert problem in capsys.readouterr().err


def test_evaluate_matches_the_columns_of_another_table(
    table_run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = [",".join(line.split(",")[i] for i in (2, 1, 0)) for line in f"a,b,kind\n{TABLE}".splitlines()]
    Path("swapped.csv").write_text("\n".join(swapped))
    found = json.loads(printed(capsys, "evaluate", str(table_run), "dataset.path=swapped.csv"))
    assert found["metrics"] == results(table_run)["test"]
    Path("other.csv").write_text(f"a,c,kind\n{TABLE}")
    assert cli.main(["evaluate", str(table_run), "dataset.path=other.csv"]) == 2
    assert "not those of the training data (a, b): missing: b; unknown: c" in capsys.readouterr().err


def test_checkpoint_without_column_names_can_be_used(
    table_run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = torch.load(table_run / "checkpoints" / "best.pt", weights_only=True)
    for key in ("columns", "left_out"):
        del saved["spec"][key]
    save_checkpoint(workdir / "old.pt", {key: value for key, value in saved.items() if key != "sha256"})
    Path("new.csv").write_text("b,a\n1,11\n")
    (row,) = csv.DictReader(
        printed(capsys, "predict", str(table_run), "new.csv", "--checkpoint", "old.pt").splitlines()
    )
    assert row["class"] == "big"


def test_checkpoint_without_ema_is_evaluated_with_its_own_weights(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(printed(capsys, "evaluate", str(run), "trainer.ema=0.9"))
    assert found["metrics"] == results(run)["test"]


def test_checkpoint_with_ema_is_evaluated_with_averaged_weights(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = runner("trainer.ema=0.9", "trainer.epochs=3")
    found = json.loads(printed(capsys, "evaluate", str(averaged), "trainer.ema=null"))
    assert found["metrics"] == results(averaged)["test"]
