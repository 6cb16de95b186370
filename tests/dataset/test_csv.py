import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from runner.data.splits import measure, split
from runner.dataset.csv import CSV

PLANTS = "height,width,kind\n1,2.5,iris\n-3,4e1,rose\n0.5, 6 , iris \n"
PRICES = "price,rooms,age\n100,1,5\n250.5,2,7\n300,3,9\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def test_text_targets_are_classes(table: Path) -> None:
    table.write_text(PLANTS)
    dataset = CSV(str(table), target="kind")
    inputs, targets = dataset.load().samples
    assert isinstance(inputs, Tensor)
    assert inputs.tolist() == [[1.0, 2.5], [-3.0, 40.0], [0.5, 6.0]]
    assert (inputs.dtype, targets.dtype, targets.tolist()) == (torch.float32, torch.int64, [0, 1, 0])
    spec = dataset.spec
    assert (spec.task, spec.in_shape, spec.out_features, spec.classes) == ("classification", (2,), 2, ("iris", "rose"))
    assert dataset.columns == ["height", "width"]


def test_numeric_targets_mean_regression_unless_task_is_set(table: Path) -> None:
    table.write_text(PRICES)
    dataset = CSV(str(table), target="rooms")
    inputs, targets = dataset.load().samples
    assert isinstance(inputs, Tensor)
    assert inputs.tolist() == [[100, 5], [250.5, 7], [300, 9]]
    assert targets.tolist() == [[1], [2], [3]]
    assert (dataset.spec.task, dataset.spec.out_features, dataset.spec.classes) == ("regression", 1, ())
    table.write_text("x,y\n1,10\n2,2\n3,10\n")
    classes = CSV(str(table), target="y", task="classification")
    assert (classes.spec.classes, classes.load().samples.targets.tolist()) == (("2", "10"), [1, 0, 1])


def test_inputs_are_standardized_on_the_training_split_only(table: Path) -> None:
    numbers = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.01]) + 7
    table.write_text("a,same,b,target\n" + "".join(f"{a},4,{b},{a + b}\n" for a, b in numbers.tolist()))
    dataset = CSV(str(table))
    train = split(dataset.load(), seed=0, val_share=0.1, test_share=0.2, fold=None).train
    spec = measure(dataset.spec, train)
    assert isinstance(train.inputs, Tensor)
    exact = train.inputs.double()
    assert spec.mean == tuple(exact.mean(0).tolist())
    assert spec.std == pytest.approx((float(exact[:, 0].std(correction=0)), 1.0, float(exact[:, 2].std(correction=0))))
    everything = dataset.load().samples.inputs
    assert isinstance(everything, Tensor)
    assert spec.mean[0] != float(everything.double()[:, 0].mean())


def test_files_written_by_spreadsheets_are_read(table: Path) -> None:
    table.write_bytes('\ufeffx,target\r\n"1",2\r\n\r\n3,4\r\n,\r\n'.encode())
    dataset = CSV(str(table))
    inputs, targets = dataset.load().samples
    assert dataset.columns == ["x"]
    assert isinstance(inputs, Tensor)
    assert (inputs.tolist(), targets.tolist()) == ([[1], [3]], [[2], [4]])


def test_missing_file_is_rejected_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"path: found 'no.csv': there is no such file: {Path.cwd()}/no.csv"):
        CSV("no.csv")
    with pytest.raises(ValueError, match="path: found"):
        CSV(str(tmp_path))


def test_missing_target_column_gets_a_suggestion(table: Path) -> None:
    table.write_text(PLANTS)
    with pytest.raises(ValueError, match=r"target: found 'hight', which is not a column of .*Did you mean height\?"):
        CSV(str(table), target="hight")


@pytest.mark.parametrize("cell", ["tall", "", "nan", "inf", "1;2"])
def test_non_numeric_cell_is_reported_with_line_and_column(table: Path, cell: str) -> None:
    table.write_text(f"height,width,kind\n1,2,a\n\n3,{cell},b\n")
    problem = f"path: {table}: line 4, column 'width': found {cell!r}, expected a number; to leave the column out: "
    with pytest.raises(ValueError, match=re.escape(f"{problem}dataset.drop=[width]")):
        CSV(str(table), target="kind")


def test_non_numeric_target_is_reported_with_line_and_column(table: Path) -> None:
    table.write_text("x,target\n1,2\n3,many\n")
    problem = f"{table}: line 3, column 'target': found 'many', expected a number"
    with pytest.raises(ValueError, match=re.escape(problem) + "$"):
        CSV(str(table), task="regression")


def test_dropped_columns_are_not_inputs(table: Path) -> None:
    table.write_text("id,height,color,kind\n7,1,red,iris\n8,2,blue,rose\n")
    dataset = CSV(str(table), target="kind", drop=("id", "color"))
    inputs = dataset.load().samples.inputs
    assert isinstance(inputs, Tensor)
    assert inputs.tolist() == [[1], [2]]
    assert (dataset.spec.columns, dataset.spec.left_out) == (("height",), ("kind", "id", "color"))
    with pytest.raises(ValueError, match=r"drop: found 'colour', which is not a column of .*Did you mean color\?"):
        CSV(str(table), target="kind", drop=("colour",))
    with pytest.raises(ValueError, match="drop: found 'kind', which is the target; allowed: color, height, id"):
        CSV(str(table), target="kind", drop=("kind",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("x,target\n", "has no rows"),
        ("target\n1\n", "has no input columns"),
        ("x,target\n1,2,3\n", "line 2: 3 cells, expected 2"),
        ("x,target\n1\n", "line 2: 1 cells, expected 2"),
        ("x,x,target\n1,2,3\n", "two columns have the same name in x, x, target"),
        ('x,target\n"1,2\n', "cannot be read: unexpected end of data"),
        ("x,target\n\udcff,2\n", "cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_files_that_are_not_tables_are_rejected(table: Path, text: str, problem: str) -> None:
    table.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"path: {re.escape(str(table))}:? {problem}"):
        CSV(str(table))


def test_tilde_in_path_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "table.csv").write_text(PRICES)
    assert len(CSV("~/table.csv", target="age").load().samples.targets) == 3
