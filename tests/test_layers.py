"""Imports go one way: the layers of the house, from the door to the components."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "runner"
COMPONENTS = ("model", "loss", "optim", "scheduler", "dataset")
CONFIGS = ("composition", "problems", "config")
UPPER = (*CONFIGS, "check", "build", "train", "run", "results", "tracking", "run_folder", "arguments", "cli")


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return modules | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


FILES = {path.relative_to(SOURCE): imports(path) for path in SOURCE.rglob("*.py")}


def importers(*modules: str) -> set[str]:
    return {str(path) for path, found in FILES.items() for name in found if name.startswith(modules)}


def test_hydra_and_omegaconf_are_known_at_the_door_alone() -> None:
    """Three files compose: Hydra on conf/, what is wrong with overrides that it refuses, and the typed config."""
    assert importers("hydra", "omegaconf") == {"cli.py", *(f"{name}.py" for name in CONFIGS)}


def test_of_the_files_that_compose_each_imports_those_before_it_alone() -> None:
    for index, name in enumerate(CONFIGS):
        assert FILES[Path(f"{name}.py")] & {f"runner.{later}" for later in CONFIGS[index:]} == set()


def test_nobody_imports_the_door_but_main() -> None:
    assert importers("runner.cli") == {"__main__.py"}


def test_components_know_neither_configs_nor_the_loop() -> None:
    upper = {f"runner.{name}" for name in (*UPPER, "settings", "data")}
    assert {path: found & upper for path, found in FILES.items() if path.parts[0] in COMPONENTS and found & upper} == {}


def test_the_loop_is_handed_what_it_works_with() -> None:
    built = {
        "runner.training.build",
        "runner.config.compose",
        "runner.training.check",
        "runner.runs.run",
        "runner.cli",
        "runner.registry",
    }
    assert FILES[Path("train.py")] & built == set()


def test_torchvision_is_reached_through_one_module() -> None:
    assert importers("torchvision") == {"vision.py"}
