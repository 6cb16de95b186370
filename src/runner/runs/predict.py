"""Evaluate a trained model on a split, and predict for image files and tables."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.config.schema import Config
from runner.dataset.base import Spec
from runner.dataset.picture import picture_files, read_picture
from runner.dataset.table import read_table
from runner.errors import CheckpointError, ConfigError, DataError, nearest
from runner.runs.tables import as_csv
from runner.training.build import build
from runner.training.checkpoint import load_checkpoint
from runner.training.evaluate import evaluate
from runner.training.parts import Parts


def trained(config: Config, folder: Path, checkpoint: str) -> tuple[Parts, Path]:
    """Build the parts of a run with the weights of a checkpoint.

    Args:
        config: config of the run.
        folder: run folder.
        checkpoint: `best`, `last`, or the path of a checkpoint.

    Returns:
        The parts, and the path of the checkpoint.

    Raises:
        ConfigError: the checkpoint does not exist, or the classes of the dataset are not those of the model.
        CheckpointError: the checkpoint is damaged or does not fit the model.
    """
    path = folder / "checkpoints" / f"{checkpoint}.pt" if checkpoint in ("best", "last") else Path(checkpoint)
    if not path.is_file():
        raise ConfigError(f"--checkpoint: {path} does not exist; allowed: best, last, or a file")
    saved = load_checkpoint(path)
    there = saved["spec"]
    parts = build(config, trained=there)
    try:
        parts.load_weights(saved)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: does not fit model={config.model.name} with this dataset: {error}") from error
    if tuple(there["classes"]) != parts.spec.classes:
        raise ConfigError(f"dataset: its classes are {parts.spec.classes}, the model knows {tuple(there['classes'])}")
    return parts, path


def evaluate_run(config: Config, folder: Path, checkpoint: str, split: str) -> dict[str, Any]:
    """Return the metrics of a run's model on the `val` or `test` split of the dataset in the config."""
    parts, path = trained(config, folder, checkpoint)
    batches = {"val": parts.val, "test": parts.test}[split]
    return {
        "run": str(folder),
        "checkpoint": str(path),
        "dataset": config.dataset.name,
        "split": split,
        "samples": batches.samples,
        "metrics": evaluate(parts, batches),
    }


def predict_files(config: Config, folder: Path, checkpoint: str, files: list[Path]) -> tuple[list[dict[str, Any]], int]:
    """Predict for image files, folders of images, and CSV tables.

    Returns:
        A row for each image and for each row of a table, and the number of files that could not be read. A row contains
        the predicted class, its probability and the probabilities of all classes; for regression, the outputs.
    """
    parts, _ = trained(config, folder, checkpoint)
    parts.judged.eval()
    rows, unread = [], 0
    for file in find_files(files):
        try:
            for name, inputs in read_inputs(file, parts.spec):
                rows.append({"input": name, **answer(parts, inputs)})
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            unread += 1
    return rows, unread


def answer(parts: Parts, inputs: Tensor) -> dict[str, Any]:
    """Return the prediction for one raw input [*in_shape]."""
    with torch.inference_mode(), parts.autocast():
        outputs = parts.judged(parts.test.normalise(inputs[None].to(parts.device)))[0].float()
    if parts.spec.task == "regression":
        return {f"output{index}": value for index, value in enumerate(outputs.tolist())}
    probabilities = outputs.softmax(0).tolist()
    best = int(outputs.argmax())
    each = {f"p({name})": value for name, value in zip(parts.spec.classes, probabilities, strict=True)}
    return {"class": parts.spec.classes[best], "probability": probabilities[best], **each}


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files; for a folder, all images at any depth below it, sorted."""
    for path in paths:
        found = picture_files(path) if path.is_dir() else []
        yield from found or [path]


def read_inputs(file: Path, spec: Spec) -> Iterator[tuple[str, Tensor]]:
    """Yield each input in a file with its name: an image as uint8 [C, H, W], or each row of a CSV as [*in_shape].

    Raises:
        DataError: the file cannot be read, or does not fit the model.
    """
    if file.is_dir():
        raise DataError(f"{file}: no PNG or JPEG file in this folder")
    if file.suffix.lower() == ".csv":
        size = torch.Size(spec.in_shape).numel()
        for line, values in read_table(file, size, spec.columns, spec.left_out):
            yield f"{file}:{line}", torch.tensor(values).view(spec.in_shape)
    elif len(spec.in_shape) == 3 and spec.in_shape[0] in (1, 3):
        channels, height, width = spec.in_shape
        yield str(file), read_picture(file, (channels, height, width))
    else:
        raise DataError(
            f"{file}: this model takes inputs of shape {spec.in_shape}: a CSV file with that many numbers per row"
        )


def check_output(target: Path | None) -> None:
    """Raise ConfigError if predictions cannot be written to `target`."""
    if target is not None and target.suffix not in (".csv", ".json"):
        raise ConfigError(f"--output: found {target.suffix!r}; {nearest(target.suffix, ['.csv', '.json'])}")
    if target is not None and not target.absolute().parent.is_dir():
        raise ConfigError(f"--output: there is no folder {target.absolute().parent}")


def write_rows(rows: list[dict[str, Any]], target: Path | None) -> str:
    """Write the rows to a CSV or JSON file, as its suffix says; return the message to print.

    Without a file, return the rows as CSV.
    """
    text = json.dumps(rows, indent=2) + "\n" if target is not None and target.suffix == ".json" else as_csv(rows)
    if target is None:
        return text
    try:
        target.write_text(text)
    except OSError as error:
        raise ConfigError(f"--output: {target} cannot be written: {error.strerror}") from error
    return f"{len(rows)} predictions: {target.absolute()}\n"
