"""A table of numbers from a CSV file."""

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.table import NotANumber, distinct, is_number, read_rows, to_number
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
        drop: names of columns that are not inputs, such as one of ids or of texts.
        standardize_targets: whether the loss compares numbers in standard deviations of the training targets. Outputs,
            predictions and the other metrics are in the unit of the table either way.

    Raises:
        ValueError: the file is missing or no table, has no such columns, or a cell that must be a number is none; then
            the message names its row and column.
    """

    def __init__(
        self,
        path: str,
        target: str = "target",
        task: Literal["classification", "regression"] | None = None,
        drop: tuple[str, ...] = (),
        standardize_targets: bool = True,
    ) -> None:
        self.path, self.target, self.left_out = Path(path).expanduser(), target, (target, *drop)
        if not self.path.is_file():
            raise ValueError(f"path: found {path!r}: there is no such file, looked for {self.path.resolve()}")
        try:
            (_, header), *rows = read_rows(self.path)
            self.header = distinct(header, self.path)
            self._check_names(drop)
            answers = [cells[header.index(target)] for _, cells in rows]
            self.columns = [name for name in header if name not in self.left_out]  # in the order of in_shape
            if not self.columns or not answers:
                raise DataError(f"{self.path} has no {'rows' if self.columns else 'columns'} to learn from")
            self.task = task or ("regression" if all(map(is_number, answers)) else "classification")
            self.classes = tuple(sorted(set(answers), key=by_number)) if self.task == "classification" else ()
            self.samples = Samples(
                self._numbers(rows, self.columns),
                self._numbers(rows, [target]) if self.task == "regression" else self._class_numbers(answers),
            )
        except DataError as error:
            raise ValueError(f"path: {error}") from error
        self.spec = Spec(
            task=self.task,
            in_shape=(len(self.columns),),
            out_features=len(self.classes) or 1,
            classes=self.classes,
            standardize=True,
            standardize_targets=standardize_targets and self.task == "regression",
            columns=tuple(self.columns),
            left_out=self.left_out,
        )

    def load(self) -> Pool:
        """Inputs [N, columns] float32, and class numbers [N] or targets [N, 1] float32."""
        return Pool(self.samples)

    def _check_names(self, drop: tuple[str, ...]) -> None:
        """Raises ValueError when the target or a dropped column is not in the header."""
        if self.target not in self.header:
            hint = nearest(self.target, self.header)
            raise ValueError(f"target: found {self.target!r}, which is no column of {self.path}; {hint}")
        inputs = [name for name in self.header if name != self.target]
        for name in drop:
            if name not in inputs:
                what = "the target" if name == self.target else f"no column of {self.path}"
                raise ValueError(f"drop: found {name!r}, which is {what}; {nearest(name, inputs)}")

    def _numbers(self, rows: list[tuple[int, list[str]]], columns: list[str]) -> Tensor:
        """Return the numbers in some columns [N, columns]."""
        places = [(self.header.index(name), name) for name in columns]
        try:
            values = [[to_number(cells[i], self.path, line, name) for i, name in places] for line, cells in rows]
        except NotANumber as error:
            hint = "" if error.column == self.target else f"; to leave the column out: dataset.drop=[{error.column}]"
            raise DataError(f"{error}{hint}") from error
        return torch.tensor(values)

    def _class_numbers(self, answers: list[str]) -> Tensor:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([numbers[name] for name in answers])


def by_number(name: str) -> tuple[float, str]:
    """Sorts 2 before 10, and names after numbers."""
    return (float(name), name) if is_number(name) else (math.inf, name)
