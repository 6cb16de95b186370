"""What a trained model says: of a split, of picture files, and of the rows of a table."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.build import build
from runner.checkpoint import load_checkpoint
from runner.errors import CheckpointError, ConfigError, DataError, nearest
from runner.experiment import Experiment
from runner.settings import Config
from runner.tables import as_csv
from runner.train import evaluate


def trained(config: Config, folder: Path, checkpoint: str) -> tuple[Experiment, Path]:
    """The parts of a run with the weights of a checkpoint: `best`, `last`, or a file; and that file.

    Raises:
        ConfigError: there is no such checkpoint. CheckpointError: it is damaged, or of another model.
    """
    path = folder / "checkpoints" / f"{checkpoint}.pt" if checkpoint in ("best", "last") else Path(checkpoint)
    if not path.is_file():
        raise ConfigError(f"--checkpoint: {path} does not exist; allowed: best, last, or a file")
    saved = load_checkpoint(path)
    exp = build(config)
    try:
        exp.load_weights(saved)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: does not fit model={config.model.name} with this dataset: {error}") from error
    there = saved["spec"]
    if tuple(there["classes"]) != exp.spec.classes:
        raise ConfigError(f"dataset: its classes are {exp.spec.classes}, the model knows {tuple(there['classes'])}")
    if exp.spec.standardise:  # as in training, whatever this table's own mean and deviation
        for batches in (exp.train, exp.val, exp.test):
            batches.normalise_by(tuple(there["mean"]), tuple(there["std"]))
    return exp, path


def evaluate_run(config: Config, folder: Path, checkpoint: str, split: str) -> dict[str, Any]:
    """The metrics of a run's model on the validation or the test split of the config's dataset."""
    exp, path = trained(config, folder, checkpoint)
    batches = {"val": exp.val, "test": exp.test}[split]
    return {
        "run": str(folder),
        "checkpoint": str(path),
        "dataset": config.dataset.name,
        "split": split,
        "samples": batches.samples,
        "metrics": evaluate(exp, batches),
    }


def predict_files(config: Config, folder: Path, checkpoint: str, files: list[Path]) -> tuple[list[dict[str, Any]], int]:
    """A row for each picture, or for each row of a table, and the number of files that could not be read.

    For classification a row has the class, its probability, and the probability of every class; for regression, the
    numbers.
    """
    exp, _ = trained(config, folder, checkpoint)
    exp.judged.eval()
    rows, unread = [], 0
    for file in files:
        try:
            for name, inputs in read_inputs(file, exp.spec.in_shape):
                rows.append({"input": name, **answer(exp, inputs)})
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            unread += 1
    return rows, unread


def answer(exp: Experiment, inputs: Tensor) -> dict[str, Any]:
    """What the model says of one input, shape in_shape."""
    with torch.inference_mode(), exp.autocast():
        outputs = exp.judged(exp.test.normalise(inputs[None].to(exp.device)))[0].float()
    if exp.spec.task == "regression":
        return {f"output{index}": value for index, value in enumerate(outputs.tolist())}
    probabilities = outputs.softmax(0).tolist()
    best = int(outputs.argmax())
    each = {f"p({name})": value for name, value in zip(exp.spec.classes, probabilities, strict=True)}
    return {"class": exp.spec.classes[best], "probability": probabilities[best], **each}


def read_inputs(file: Path, in_shape: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """The inputs in a file by name: one picture as bytes [C, H, W], or each row of a CSV as numbers in_shape.

    Raises:
        DataError: the file is neither, or a row has other numbers than the model takes.
    """
    if file.suffix.lower() == ".csv":
        yield from _rows(file, in_shape)
    elif len(in_shape) == 3 and in_shape[0] in (1, 3):
        yield str(file), read_image(file, in_shape)
    else:
        raise DataError(f"{file}: this model takes inputs of shape {in_shape}: a CSV with so many numbers in a row")


def read_image(file: Path, in_shape: tuple[int, ...]) -> Tensor:
    """A picture of any size and mode as bytes [C, H, W]. Raises DataError, naming the file, when it is none."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    channels, height, width = in_shape
    try:
        with Image.open(file) as opened:
            deep = opened.mode.startswith("I;16")  # 16 bits of grey would be cut off, not scaled, by `convert`
            image = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8)) if deep else opened
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((width, height)))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: no image that can be read: {error}") from error
    return torch.from_numpy(pixels.copy()).view(height, width, channels).permute(2, 0, 1)


def _rows(file: Path, in_shape: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    size = torch.Size(in_shape).numel()
    try:
        with file.open(newline="") as opened:
            for number, row in enumerate(csv.reader(opened), start=1):
                try:
                    values = [float(cell) for cell in row]
                except ValueError:
                    if number == 1:
                        continue  # the names of the columns
                    raise DataError(f"{file}: row {number} holds something that is no number: {row}") from None
                if len(values) != size:
                    raise DataError(f"{file}: row {number} has {len(values)} numbers, the model takes {size}")
                yield f"{file}:{number}", torch.tensor(values).view(in_shape)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def check_output(target: Path | None) -> None:
    """Raises ConfigError when predictions cannot be written to `target`."""
    if target is not None and target.suffix not in (".csv", ".json"):
        raise ConfigError(f"--output: found {target.suffix!r}; {nearest(target.suffix, ['.csv', '.json'])}")
    if target is not None and not target.absolute().parent.is_dir():
        raise ConfigError(f"--output: there is no folder {target.absolute().parent}")


def write_rows(rows: list[dict[str, Any]], target: Path | None) -> str:
    """The rows as CSV, or as JSON where `target` ends so; written to `target`, or returned where there is none."""
    text = json.dumps(rows, indent=2) + "\n" if target is not None and target.suffix == ".json" else as_csv(rows)
    if target is None:
        return text
    try:
        target.write_text(text)
    except OSError as error:
        raise ConfigError(f"--output: {target} cannot be written: {error.strerror}") from error
    return f"{len(rows)} predictions: {target.absolute()}\n"
