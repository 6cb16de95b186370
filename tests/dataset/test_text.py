import re
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Literal

import pytest
import torch

from runner.data.splits import split
from runner.dataset.base import Samples
from runner.dataset.text import Text
from runner.errors import DataError
from runner.registry import DATASETS

SENTENCE = "".join(chr(97 + index % 26) for index in range(200))  # abc...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(SENTENCE)
    return path


def strings(samples: Samples, dataset: Text) -> list[tuple[str, str]]:
    """Return the inputs and the targets of each window as text."""
    decode = dataset.spec.classes.__getitem__
    return [
        ("".join(map(decode, tokens)), "".join(map(decode, following)))
        for tokens, following in zip(samples.inputs.tolist(), samples.targets.tolist(), strict=True)
    ]


def test_windows_are_consecutive_and_targets_are_the_next_characters(file: Path) -> None:
    dataset = Text(str(file), context=8)
    train, test, val = dataset.load()
    assert val is not None
    assert test is not None
    for samples, part in ((train, SENTENCE[:160]), (val, SENTENCE[160:180]), (test, SENTENCE[180:])):
        starts = range(0, len(part) - 8, 8)
        assert strings(samples, dataset) == [(part[at : at + 8], part[at + 1 : at + 9]) for at in starts]
    assert (train.size, val.size, test.size) == (19, 2, 2)
    assert (train.inputs.dtype, train.targets.dtype) == (torch.int64, torch.int64)


@pytest.mark.parametrize("stride", [1, 3, 20])
def test_windows_start_every_stride_characters(file: Path, stride: int) -> None:
    dataset = Text(str(file), context=8, stride=stride)
    train = dataset.load().samples
    assert strings(train, dataset) == [
        (SENTENCE[at : at + 8], SENTENCE[at + 1 : at + 9]) for at in range(0, 160 - 8, stride)
    ]


def test_splits_of_the_runner_are_the_parts_of_the_text(file: Path) -> None:
    dataset = Text(str(file), context=8)
    splits = split(dataset.load(), seed=0, val_share=0.1, test_share=None, fold=None)
    assert [part.size for part in splits] == [19, 2, 2]
    assert strings(splits.val, dataset)[0][0] == SENTENCE[160:168]
    assert strings(splits.test, dataset)[0][0] == SENTENCE[180:188]


def test_spec_has_the_vocabulary_of_the_whole_text(file: Path) -> None:
    file.write_text("b" * 90 + "aZé\n" + "b" * 106)
    spec = Text(str(file), context=8).spec
    assert spec.classes == ("\n", "Z", "a", "b", "é")
    assert (spec.task, spec.in_shape, spec.out_features) == ("language_modeling", (8,), 5)
    assert spec.supplies == {"vocab_size": 5}
    assert spec.has_test
    assert torch.equal(spec.example, torch.zeros(8, dtype=torch.long))
    assert spec.two_inputs.shape == (2, 8)


def test_bytes_are_read_as_they_are(file: Path) -> None:
    file.write_bytes(bytes(range(256)))
    dataset = Text(str(file), context=20, level="byte")
    train, test, _ = dataset.load()
    assert test is not None
    assert dataset.spec.classes == tuple(map(chr, range(256)))
    assert dataset.spec.supplies == {"vocab_size": 256}
    assert train.inputs[1].tolist() == list(range(20, 40))
    assert test.targets[0].tolist() == list(range(232, 252))


def test_line_ends_are_kept(file: Path) -> None:
    file.write_bytes(b"one\r\ntwo\n" * 30)
    assert "".join(Text(str(file), context=8).spec.classes[:2]) == "\n\r"


def test_default_text_is_the_documentation_of_python() -> None:
    dataset = Text(context=100)
    train = strings(dataset.load().samples, dataset)
    whole = "".join(topics[name] for name in sorted(topics))
    assert whole.startswith("".join(tokens for tokens, _ in train[:30]))
    assert set(dataset.spec.classes) == set(whole)
    assert len(train) == pytest.approx(0.8 * len(whole) / 100, abs=1)


def test_missing_documentation_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match=r"no documentation topics \(pydoc_data\); set dataset.path to a text file"):
        _ = Text().spec


@pytest.mark.parametrize("level", ["character", "byte"])
def test_spec_and_not_the_constructor_reads_the_file(tmp_path: Path, level: Literal["character", "byte"]) -> None:
    dataset = Text(str(tmp_path / "none.txt"), level=level)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'none.txt'}: cannot be read: ")):
        _ = dataset.spec
    with pytest.raises(DataError, match="cannot be read"):
        dataset.load()


def test_file_that_is_not_text_raises(file: Path) -> None:
    file.write_bytes(b"\xff" * 2000)
    with pytest.raises(DataError, match=r"text.txt: is not text in UTF-8: .*level=byte"):
        _ = Text(str(file)).spec
    assert Text(str(file), level="byte").load().samples.inputs.unique().tolist() == [255]


def test_shortest_text_has_one_window_to_test_on(file: Path) -> None:
    file.write_text("a" * 90)
    assert [part and part.size for part in Text(str(file), context=8).load()] == [8, 1, 1]
    file.write_text("a" * 89)
    with pytest.raises(DataError, match=r"found 89 characters, too few for context=8; a tenth .* at least 9"):
        _ = Text(str(file), context=8).spec
    file.write_text("")
    with pytest.raises(DataError, match=r"found 0 bytes, too few for context=64; a tenth .* at least 65"):
        _ = Text(str(file), level="byte").spec


def test_small_strides_take_no_memory(file: Path) -> None:
    train = Text(str(file), context=8, stride=1).load().samples
    assert train.inputs.untyped_storage().nbytes() == 8 * len(SENTENCE)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"context": 0}, "context must be at least 1, found 0"),
        ({"stride": 0}, "stride must be at least 1, found 0"),
        ({"stride": -1}, "stride must be at least 1, found -1"),
    ],
)
def test_values_out_of_range_are_rejected(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Text(**values)


def test_builds_from_registry(file: Path) -> None:
    values = {"path": str(file), "context": 8, "stride": None, "level": "byte"}
    DATASETS.check("text", values)
    assert isinstance(DATASETS.build("text", values), Text)
