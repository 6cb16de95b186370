"""A table of numbers from a CSV file."""

import math
from pathlib import Path
from typing import Literal

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.table import is_number, read_header, read_rows, to_number
from runner.errors import DataError, nearest
from runner.registry import DATASETS


@DATASETS.register("csv")
class CSV:
    """A table of numbers: one column is the target, all others are the inputs. The first row names the columns.

    The inputs are standardized: over the training split, each column has mean 0 and standard deviation 1.

    Args:
        path: the CSV file; commas between the cells.
        target: the name of the column to predict.
        task: what to predict. Classes may have any names; for numbers that name classes it must be said. None is
            regression where every target is a number, and classification otherwise.

    Raises:
        ValueError: the file is missing or no table, or has no such column.
    """

    def __init__(
        self, path: str, target: str = "target", task: Literal["classification", "regression"] | None = None
    ) -> None:
        self.path, self.target = Path(path).expanduser(), target
        if not self.path.is_file():
            raise ValueError(f"path: found {path!r}: there is no such file, looked for {self.path.resolve()}")
        try:
            header = read_header(self.path)
            if target not in header:
                raise ValueError(
                    f"target: found {target!r}, which is no column of {self.path}; {nearest(target, header)}"
                )
            self.column = header.index(target)
            answers = [cells[self.column] for _, cells in read_rows(self.path)][1:]
        except DataError as error:
            raise ValueError(f"path: {error}") from error
        self.columns = [name for name in header if name != target]  # of the inputs, in the order of in_shape
        if not self.columns or not answers:
            raise ValueError(f"path: {self.path} has no {'rows' if self.columns else 'columns'} to learn from")
        self.task = task or ("regression" if all(map(is_number, answers)) else "classification")
        self.classes = tuple(sorted(set(answers), key=by_number)) if self.task == "classification" else ()
        self.spec = Spec(
            task=self.task,
            in_shape=(len(self.columns),),
            out_features=len(self.classes) or 1,
            classes=self.classes,
            standardize=True,
            columns=tuple(self.columns),
            left_out=(target,),
        )

    def load(self) -> Pool:
        """Inputs [N, columns] float32, and class numbers [N] or targets [N, 1] float32.

        Raises:
            DataError: a cell that must be a number is none; the message names its row and column.
        """
        rows = list(read_rows(self.path))
        header, body = rows[0][1], rows[1:]
        inputs = torch.tensor(
            [
                [
                    to_number(cell, self.path, line, name)
                    for name, cell in zip(header, cells, strict=True)
                    if name != self.target
                ]
                for line, cells in body
            ]
        )
        if self.task == "classification":
            numbers = {name: number for number, name in enumerate(self.classes)}
            return Pool(Samples(inputs, torch.tensor([numbers[cells[self.column]] for _, cells in body])))
        targets = [[to_number(cells[self.column], self.path, line, self.target)] for line, cells in body]
        return Pool(Samples(inputs, torch.tensor(targets)))


def by_number(name: str) -> tuple[float, str]:
    """Sorts 2 before 10, and names after numbers."""
    return (float(name), name) if is_number(name) else (math.inf, name)
