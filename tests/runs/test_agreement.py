import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import runner
from runner.config.schema import Config
from runner.plugins import load_plugins
from runner.runs import agreement
from runner.runs.agreement import facts, hash_code


def differing(one: dict[str, object], other: dict[str, object]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_facts_contain_config_code_and_versions(tiny: Callable[..., Config]) -> None:
    found = facts(tiny())
    assert found["config optim.lr"] == 0.01
    assert found["config trainer.batch_size"] == 256
    assert found["version of torch"] == torch.__version__
    assert found["version of Python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["number of threads (device.threads)"] == 1
    assert facts(tiny()) == found


def test_facts_differ_in_the_keys_of_the_config_that_differ(tiny: Callable[..., Config]) -> None:
    assert differing(facts(tiny()), facts(tiny("optim.lr=0.1", "seed=7"))) == {"config optim.lr", "config seed"}


def test_threads_are_those_of_the_process_if_the_config_sets_none(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert facts(tiny("device.threads=null"))["number of threads (device.threads)"] == 3
    assert facts(tiny("device.threads=2"))["number of threads (device.threads)"] == 2


def test_facts_differ_if_the_code_of_a_plugin_differs(workdir: Path, tiny: Callable[..., Config]) -> None:
    (workdir / "mine.py").write_text("first = 1\n")
    config = tiny("plugins=[mine]")
    load_plugins(config.plugins)
    before = facts(config)
    assert facts(config) == before
    (workdir / "mine.py").write_text("second = 2\n")
    assert differing(before, facts(config)) == {"hash of the code"}


def test_facts_differ_if_a_module_of_a_plugin_package_differs(workdir: Path) -> None:
    (workdir / "package").mkdir()
    (workdir / "package" / "__init__.py").write_text("from package import model\n")
    (workdir / "package" / "model.py").write_text("layers = 1\n")
    load_plugins(["package"])
    before = hash_code(["package"])
    (workdir / "package" / "model.py").write_text("layers = 2\n")
    assert hash_code(["package"]) != before


@pytest.mark.parametrize("change", ["content", "name"])
def test_facts_differ_if_the_code_of_the_runner_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "__init__.py").touch()
    (tmp_path / "model" / "mlp.py").write_text("layers = 1\n")
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "__init__.py"))
    before = agreement.hash_code([])
    assert agreement.hash_code([]) == before
    if change == "content":
        (tmp_path / "model" / "mlp.py").write_text("layers = 2\n")
    else:
        (tmp_path / "model" / "mlp.py").rename(tmp_path / "model" / "other.py")
    assert agreement.hash_code([]) != before
