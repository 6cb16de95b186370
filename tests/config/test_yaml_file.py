from pathlib import Path

import pytest
import yaml

from runner.config import yaml_file
from runner.config.yaml_file import read_yaml


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_plain_values_and_small_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {b: [1, 2.5, true, null, text]}\nc: *a\n")
    values = {"b": [1, 2.5, True, None, "text"]}
    assert read_yaml(tmp_path / "a.yaml") == {"a": values, "c": values}
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") is None


@pytest.mark.parametrize("text", [bomb(9), bomb(30), "a: &a [*a]", "a: &a {b: *a}"])
def test_aliases_that_expand_to_too_many_values_are_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(yaml.YAMLError, match="aliases"):
        read_yaml(tmp_path / "bomb.yaml")


def test_any_number_of_values_without_aliases_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file, "LARGEST", 10)  # the sweep.yaml of 5,000 jobs has more than a million values
    (tmp_path / "a.yaml").write_text(f"a: {list(range(100))}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": list(range(100))}
    (tmp_path / "a.yaml").write_text(f"a: &a {list(range(100))}\nb: *a")
    with pytest.raises(yaml.YAMLError, match="aliases"):
        read_yaml(tmp_path / "a.yaml")


def test_deep_nesting_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text("[" * 2000 + "]" * 2000)
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        read_yaml(tmp_path / "deep.yaml")


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [true]", "a: !!python/name:os.system"])
def test_python_tags_are_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "code.yaml").write_text(text)
    with pytest.raises(yaml.YAMLError):
        read_yaml(tmp_path / "code.yaml")
