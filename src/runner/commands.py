"""The commands other than training: resume, evaluate, predict, compare, export and components.

Each one parses its arguments before it imports what needs torch, so that `--help` and usage errors come at once.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.config.compose import freeze, thaw
from runner.errors import ConfigError
from runner.machine.ranks import is_leader
from runner.machine.startup import speed_up

if TYPE_CHECKING:
    from runner.config.schema import Config


def show(config: "Config") -> int:
    """Print the resolved config and the model; create nothing."""
    import torch

    from runner.tracking.summary import summarize
    from runner.training.build import build_dataset, build_model

    spec = build_dataset(config).spec
    with torch.device("meta"):
        model = build_model(config, spec)
    print(freeze(config))
    print(summarize(model, spec.in_shape))
    print("dry run: nothing was created")
    return 0


def resume(arguments: list[str]) -> int:
    """Run `python -m runner resume FOLDER [overrides]`: continue a run or a sweep as if it had never stopped."""
    parser = argparse.ArgumentParser("runner resume", description="Continue a run or a sweep where it stopped.")
    parser.add_argument("folder", type=Path, help="a run folder or a sweep folder")
    parser.add_argument("overrides", nargs="*", default=[], help="values to change, such as trainer.epochs=20")
    parser.add_argument("--retry-failed", action="store_true", help="run the failed jobs of a sweep again too")
    options = parser.parse_intermixed_args(arguments)
    folder = options.folder.absolute()

    from runner.sweep.jobs import is_sweep, swept_in

    if is_sweep(folder):
        return resume_sweep(folder, options.overrides, options.retry_failed)
    if options.retry_failed:
        raise ConfigError(f"--retry-failed: {folder} is not a sweep folder; resume a failed run without this flag")
    config = frozen_config(folder, options.overrides, trains=True)

    if config.dry_run:
        return show(config)

    from runner.runs.run import Order, run
    from runner.sweep.halving import should_stop_in
    from runner.tracking.results import DONE, status_of

    if status_of(folder) in DONE and not options.overrides:
        print(f"completed already, nothing to do: {folder}\nTo train longer: resume {folder} trainer.epochs=N")
        return 0
    # With new values, such as more epochs, a run of a sweep is not comparable with the other jobs any more.
    should_stop = None if options.overrides else should_stop_in(config, folder)
    return run(Order(config, options.overrides, True, swept_in(folder), should_stop), lambda: folder)


def resume_sweep(folder: Path, overrides: Sequence[str], retry_failed: bool) -> int:
    """Run the jobs of a sweep that are left; the only setting that may change is sweep.jobs."""
    jobs = None
    for text in overrides:
        key, _, value = text.partition("=")
        if key != "sweep.jobs" or not value.isdigit() or int(value) < 1:
            raise ConfigError(
                f"{text}: a sweep is resumed as it was frozen; allowed: sweep.jobs=N. "
                f"To change one of its runs: resume {folder}/JOB {text}"
            )
        jobs = int(value)

    from runner.plugins import check_origins
    from runner.sweep.driver import resume
    from runner.sweep.jobs import Sweep

    check_origins(sorted({module for job in Sweep.open(folder).jobs for module in job.config.plugins}), folder)
    return resume(folder, retry_failed, jobs)


def evaluate(arguments: list[str]) -> int:
    """Run `python -m runner evaluate RUN`: print the metrics of a run's model as JSON."""
    parser = argparse.ArgumentParser("runner evaluate", description="Print the metrics of a run's model as JSON.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("overrides", nargs="*", default=[], help="another dataset: dataset=mnist dataset.root=...")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|FILE")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    options = parser.parse_intermixed_args(arguments)
    config = frozen_config(options.run, options.overrides)

    from runner.runs.predict import evaluate_run
    from runner.tracking.results import as_json

    print(as_json(evaluate_run(config, options.run.absolute(), options.checkpoint, options.split)), end="")
    return 0


def predict(arguments: list[str]) -> int:
    """Run `python -m runner predict RUN FILE...`: predict images or the rows of a CSV file."""
    parser = argparse.ArgumentParser("runner predict", description="Predict images or the rows of a CSV file.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="images, or a CSV file")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|FILE")
    parser.add_argument("--output", type=Path, metavar="F", help="a .csv or .json file; default: print CSV")
    options = parser.parse_intermixed_args(arguments)
    config = frozen_config(options.run)

    from runner.runs.predict import check_output, predict_files, write_rows

    check_output(options.output)
    rows, unread = predict_files(config, options.run.absolute(), options.checkpoint, options.files)
    print(write_rows(rows, options.output), end="")
    return 1 if unread else 0


def export(arguments: list[str]) -> int:
    """Run `python -m runner export RUN --format F`: write a run's model for other programs."""
    parser = argparse.ArgumentParser("runner export", description="Write a run's model for other programs.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--format", required=True, choices=["safetensors", "torch.export", "onnx"])
    parser.add_argument("--checkpoint", default="best", metavar="best|last|FILE")
    parser.add_argument("--output", type=Path, metavar="F", help="default: RUN/export/model.*")
    options = parser.parse_args(arguments)
    config = frozen_config(options.run)

    from runner.runs.export import export_run

    model, description = export_run(config, options.run.absolute(), options.checkpoint, options.format, options.output)
    print(f"model    {model}\ninput    {description}")
    return 0


def frozen_config(folder: Path, overrides: Sequence[str] = (), trains: bool = False) -> "Config":
    """Return the checked config of a run folder.

    Args:
        folder: the run folder.
        overrides: new values.
        trains: whether the run is to be trained further.

    Raises:
        ConfigError: it is not a run folder, or the overrides do not fit its config.
    """
    from runner.sweep.jobs import is_sweep

    file = folder.absolute() / "config.yaml"
    if is_sweep(file.parent):
        raise ConfigError(f"{file.parent}: is a sweep folder; name one of its runs: {file.parent}/JOB")
    if not file.is_file():
        raise ConfigError(f"{file.parent}: not a run folder: it has no config.yaml")
    config = thaw(file, overrides)

    speed_up()
    from runner.plugins import check_origins
    from runner.runs.origin import with_origin, with_paths_of
    from runner.training.check import check

    if is_leader():
        check_origins(config.plugins, file.parent)

    config = with_paths_of(file.parent, config, overrides)
    try:
        check(config, trains)
    except ConfigError as error:
        raise with_origin(file.parent, error) from error
    return config


def compare(arguments: list[str]) -> int:
    """Run `python -m runner compare FOLDER...`: show runs and sweeps in one table."""
    from runner.runs.compare import Comparison
    from runner.runs.formats import FORMATS, render
    from runner.runs.found import find_runs

    parser = argparse.ArgumentParser("runner compare", description="Show runs and sweeps in one table.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, sweeps, or folders of them")
    parser.add_argument("--sort", metavar="KEY", help="a column, best first; default: the first metric")
    parser.add_argument("--columns", metavar="KEY,...", help="only these columns: metrics or keys of the configs")
    parser.add_argument("--format", default="table", choices=FORMATS)
    parser.add_argument("--output", type=Path, metavar="F", help="a file; default: print the table")
    options = parser.parse_intermixed_args(arguments)
    comparison = Comparison(find_runs(options.folders))
    comparison.sort(options.sort)
    if options.columns is not None:
        comparison.choose(options.columns.split(","))
    width = shutil.get_terminal_size().columns if options.output is None and sys.stdout.isatty() else 120
    text = render(comparison, options.format, width)
    if options.output is None:
        print(text, end="")
        return 0
    try:
        options.output.write_text(text)
    except OSError as error:
        raise ConfigError(f"--output: {options.output} cannot be written: {error.strerror}") from error
    print(f"{len(comparison.runs)} runs: {options.output.absolute()}")
    return 0


def components(arguments: list[str]) -> int:
    """Run `python -m runner components [GROUP [NAME]]`: list the registered components."""
    parser = argparse.ArgumentParser("runner components", description="List the components that a config can choose.")
    parser.add_argument("group", nargs="?", help="model, loss, optim, scheduler or dataset")
    parser.add_argument("name", nargs="?", help="a component of the group")
    parser.add_argument("--format", default="table", choices=["table", "json"])
    parser.add_argument("--plugins", default="", metavar="M,N", help="modules with your own components")
    options = parser.parse_args(arguments)

    from runner.catalog import as_json, print_components
    from runner.plugins import load_plugins

    load_plugins([module for module in options.plugins.split(",") if module])
    if options.format == "json":
        print(as_json(options.group, options.name))
    else:
        print_components(options.group, options.name)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "resume": resume,
    "evaluate": evaluate,
    "predict": predict,
    "compare": compare,
    "export": export,
    "components": components,
}
