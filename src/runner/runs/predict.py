"""Evaluate a trained model on a split, and predict for image files and tables."""

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.config.schema import Config
from runner.dataset.base import Spec
from runner.dataset.frame import Frame
from runner.dataset.picture import picture_files, read_picture
from runner.dataset.table import read_table
from runner.dataset.tree import map_tensors
from runner.errors import CheckpointError, ConfigError, DataError, nearest
from runner.runs.tables import as_csv
from runner.task import LanguageModeling
from runner.tracking.results import as_json
from runner.training.evaluate import evaluate, in_full_precision
from runner.training.parts import Parts
from runner.training.saving.checkpoint import load_checkpoint
from runner.training.setup.build import build


def load_trained(config: Config, folder: Path, checkpoint: str) -> tuple[Parts, Path]:
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
    parts = build(without_cache(config), trained=there)
    try:
        parts.load_weights(saved)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: does not fit model={config.model.name} with this dataset: {error}") from error
    if tuple(there["classes"]) != parts.spec.classes:
        raise ConfigError(
            f"dataset: its classes are {parts.spec.classes}, but the model was trained on {tuple(there['classes'])}"
        )
    return parts, path


def without_cache(config: Config) -> Config:
    """Return the config without `dataset.cache`: a few pictures are read sooner than all of them are decoded."""
    if config.dataset.values.get("cache") is None:
        return config
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"cache": None})})


def evaluate_run(config: Config, folder: Path, checkpoint: str, split: str) -> dict[str, Any]:
    """Return the metrics of a run's model on the `val` or `test` split of the dataset in the config."""
    parts, path = load_trained(config, folder, checkpoint)
    batches = {"val": parts.val, "test": parts.test}[split]
    return {
        "run": str(folder),
        "checkpoint": str(path),
        "dataset": config.dataset.name,
        "split": split,
        "samples": batches.samples,
        "metrics": evaluate(parts, batches),
    }


def predict_files(
    config: Config, folder: Path, checkpoint: str, files: list[Path], pictures: Path | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Predict for image files, folders of images, and CSV tables.

    Args:
        config: config of the run.
        folder: run folder.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        files: files to predict for.
        pictures: folder for predictions that are images, such as masks; None: they are not written.

    Returns:
        A row for each image and for each row of a table, and the number of files that could not be read. What a row
        contains depends on the task; for a language model, each file is a prompt, and its row the continued text.
    """
    parts, _ = load_trained(config, folder, checkpoint)
    parts.eval_model.eval()
    rows, unread = [], 0
    for file in find_files(files):
        try:
            for name, row, picture in answers(parts, file):
                written = (
                    {} if pictures is None or picture is None else {"image": write_picture(picture, pictures, name)}
                )
                rows.append({"input": name, **row, **written})
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            unread += 1
    return rows, unread


def answers(parts: Parts, file: Path) -> Iterator[tuple[str, dict[str, Any], Tensor | None]]:
    """Yield for each input in a file its name, the columns of its prediction, and its prediction as an image, if any.

    Raises:
        DataError: the file cannot be read, or does not fit the model.
    """
    if isinstance(parts.task, LanguageModeling):
        yield str(file), continuation(parts, parts.task, file), None
        return
    known = parts.test.raw(torch.arange(1))
    if not isinstance(known, Tensor):
        raise DataError(f"{file}: this model takes a tuple or dict of inputs, which a file cannot hold")
    for name, raw in read_inputs(file, parts.spec):
        if not (known.is_floating_point() or known.dtype == torch.uint8):
            raw = raw.to(known.dtype)
        inputs = parts.test.normalize(raw[None].to(parts.device))
        with torch.inference_mode(), parts.autocast():
            outputs = map_tensors(lambda tensor: in_full_precision(tensor[0]), parts.predict(inputs))
        yield name, parts.task.answer(outputs, inputs[0]), parts.task.picture(outputs)


def write_picture(picture: Tensor, folder: Path, name: str) -> str:
    """Write an image [C, H, W] as a PNG file named for its input, and return the path."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    names = chain([Path(name).stem], (f"{Path(name).stem}-{number}" for number in count(2)))
    path = next(path for path in (folder / f"{each}.png" for each in names) if not path.exists())
    pixels = picture.movedim(0, -1).cpu().numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return str(path)


def continuation(parts: Parts, task: LanguageModeling, file: Path) -> dict[str, Any]:
    """Return the text of a file, continued by a language model.

    Raises:
        DataError: the file cannot be read, or has characters that the model does not know.
    """
    try:
        prompt = file.read_text("utf-8").removesuffix("\n")
        with parts.autocast():
            return {"text": task.generate(parts.eval_model, task.encode(prompt).to(parts.device))}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text: {error}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


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
        raise DataError(f"{file}: no PNG, JPEG or WebP file in this folder")
    if file.suffix.lower() == ".csv":
        size = torch.Size(spec.in_shape).numel()
        for line, values in read_table(file, size, spec.columns, spec.left_out):
            yield f"{file}:{line}", torch.tensor(values).view(spec.in_shape)
    elif len(spec.in_shape) == 3 and spec.in_shape[0] in (1, 3):
        yield str(file), read_picture(file, spec.frame or Frame(*spec.in_shape))
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
    text = as_json(rows) if target is not None and target.suffix == ".json" else as_csv(rows)
    if target is None:
        return text
    try:
        target.write_text(text, "utf-8", errors="surrogateescape")  # for paths that are not UTF-8
    except OSError as error:
        raise ConfigError(f"--output: {target} cannot be written: {error.strerror}") from error
    return f"{len(rows)} predictions: {target.absolute()}\n"
