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
    """A table of numbers with one target column; the first row names the columns.

    The inputs are standardized: each column has mean 0 and standard deviation 1 over the training split.

    Args:
        path: comma-separated file.
        target: name of the column to predict.
        task: classification or regression. None: regression if every target is a number, otherwise classification.
        drop: names of columns that are not used as inputs, such as IDs or text.
        standardize_targets: whether to compute the loss of a regression in standard deviations of the training
            targets. Predictions and metrics are in the unit of the table in any case.

    Raises:
        ValueError: the file is missing or not a table, a column does not exist, or a cell is not a number; the message
            names its row and column.
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
            raise ValueError(f"path: found {path!r}: there is no such file: {self.path.resolve()}")
        try:
            (_, header), *rows = read_rows(self.path)
            self.header = distinct(header, self.path)
            self._check_names(drop)
            answers = [cells[header.index(target)] for _, cells in rows]
            self.columns = [name for name in header if name not in self.left_out]  # in the order of the inputs
            if not self.columns or not answers:
                raise DataError(f"{self.path} has no {'rows' if self.columns else 'input columns'}")
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
        """Return float32 inputs [N, columns] and class indices [N] or float32 targets [N, 1]."""
        return Pool(self.samples)

    def _check_names(self, drop: tuple[str, ...]) -> None:
        """Check that the header contains the target and the dropped columns, and that the target is not dropped.

        Raises:
            ValueError: a name is wrong; the message suggests the nearest one.
        """
        if self.target not in self.header:
            hint = nearest(self.target, self.header)
            raise ValueError(f"target: found {self.target!r}, which is not a column of {self.path}; {hint}")
        inputs = [name for name in self.header if name != self.target]
        for name in drop:
            if name not in inputs:
                what = "the target" if name == self.target else f"not a column of {self.path}"
                raise ValueError(f"drop: found {name!r}, which is {what}; {nearest(name, inputs)}")

    def _numbers(self, rows: list[tuple[int, list[str]]], columns: list[str]) -> Tensor:
        """Return the numbers in the given columns [N, columns]."""
        places = [(self.header.index(name), name) for name in columns]
        try:
            values = [[to_number(cells[i], self.path, line, name) for i, name in places] for line, cells in rows]
        except NotANumber as error:
            hint = "" if error.column == self.target else f"; to leave the column out: dataset.drop=[{error.column}]"
            raise DataError(f"{error}{hint}") from error
        return torch.tensor(values)

    def _class_numbers(self, answers: list[str]) -> Tensor:
        """Return the class indices [N] of the cells in the target column."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([numbers[name] for name in answers])


def by_number(name: str) -> tuple[float, str]:
    """Return a sort key: numbers by value, then other names."""
    return (float(name), name) if is_number(name) else (math.inf, name)
