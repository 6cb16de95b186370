"""Imports go one way: the layers of the house, from the door to the components."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "runner"
COMPONENTS = ("model", "loss", "optim", "scheduler", "dataset")
UPPER = ("config", "check", "build", "train", "run", "results", "tracking", "run_folder", "cli")


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return modules | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


FILES = {path.relative_to(SOURCE): imports(path) for path in SOURCE.rglob("*.py")}


def importers(*modules: str) -> set[str]:
    return {str(path) for path, found in FILES.items() for name in found if name.startswith(modules)}


def test_hydra_and_omegaconf_are_known_at_the_door_alone() -> None:
    assert importers("hydra", "omegaconf") == {"cli.py", "config.py"}


def test_nobody_imports_the_door_but_main() -> None:
    assert importers("runner.cli") == {"__main__.py"}


def test_components_know_neither_configs_nor_the_loop() -> None:
    upper = {f"runner.{name}" for name in (*UPPER, "settings", "data")}
    assert {path: found & upper for path, found in FILES.items() if path.parts[0] in COMPONENTS and found & upper} == {}


def test_the_loop_is_handed_what_it_works_with() -> None:
    built = {"runner.build", "runner.config", "runner.check", "runner.run", "runner.cli", "runner.registry"}
    assert FILES[Path("train.py")] & built == set()


def test_torchvision_is_reached_through_one_module() -> None:
    assert importers("torchvision") == {"vision.py"}
