"""The commands other than training: resume, evaluate, predict, verify, export, components, those of `runs.commands`.

Each one parses its arguments before it imports what needs torch, so that `--help` and usage errors come at once.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from runner.config.frozen import thaw
from runner.errors import ConfigError
from runner.machine.ranks import is_leader
from runner.machine.startup import speed_up
from runner.runs.commands import compare, diff
from runner.tracking.events import event, events

if TYPE_CHECKING:
    from runner.config.schema import Config


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

    from runner.runs.dry_run import show
    from runner.runs.request import Request
    from runner.runs.run import run
    from runner.sweep.halving import make_should_stop
    from runner.tracking.results import DONE, outcome, read_results, status_of

    if config.dry_run:
        return show(config)
    if status_of(folder) in DONE and not options.overrides:
        print(f"completed already, nothing to do: {folder}\nTo train longer: resume {folder} trainer.epochs=N")
        events.write(event("ended", **outcome(read_results(folder), folder, 0)))
        return 0
    # With new values, such as more epochs, a run of a sweep is not comparable with the other jobs any more.
    should_stop = None if options.overrides else make_should_stop(config, folder)
    return run(Request(config, options.overrides, True, swept_in(folder), should_stop), lambda: folder)


def resume_sweep(folder: Path, overrides: Sequence[str], retry_failed: bool) -> int:
    """Run the jobs of a sweep that are left, and continue a search.

    The only settings that may change are sweep.jobs, and for a search the number of trials.
    """
    numbers: dict[str, int] = {}
    for text in overrides:
        key, _, value = text.partition("=")
        if key not in ("sweep.jobs", "hydra.sweeper.n_trials") or not value.isdecimal() or int(value) < 1:
            raise ConfigError(
                f"{text}: a sweep is resumed as it was frozen; allowed: sweep.jobs=N, and for a search "
                f"hydra.sweeper.n_trials=N. To change one of its runs: resume {folder}/JOB {text}"
            )
        numbers[key] = int(value)
    jobs, trials = numbers.get("sweep.jobs"), numbers.get("hydra.sweeper.n_trials")

    from runner.plugins import check_origins
    from runner.sweep.driver import resume
    from runner.sweep.jobs import Sweep
    from runner.sweep.resumption import Resumption, continue_search

    sweep = Sweep.open(folder)
    check_origins(sorted({module for job in sweep.jobs for module in job.config.plugins}), folder)
    if sweep.search is not None:
        return continue_search(Resumption(sweep, retry_failed, jobs), trials)
    if trials is not None:
        raise ConfigError(f"hydra.sweeper.n_trials={trials}: {folder} is not a search; allowed: sweep.jobs=N")
    return resume(folder, retry_failed, jobs)


def evaluate(arguments: list[str]) -> int:
    """Run `python -m runner evaluate RUN`: print the metrics of a run's model as JSON."""
    parser = argparse.ArgumentParser("runner evaluate", description="Print the metrics of a run's model as JSON.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("overrides", nargs="*", default=[], help="another dataset: dataset=mnist dataset.root=...")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|FILE")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of your own config files, for dataset=YOURS")
    options = parser.parse_intermixed_args(arguments)
    config = frozen_config(options.run, options.overrides, config_dir=options.config_dir)

    from runner.runs.predict import evaluate_run
    from runner.tracking.results import as_json

    print(as_json(evaluate_run(config, options.run.absolute(), options.checkpoint, options.split)), end="")
    return 0


def predict(arguments: list[str]) -> int:
    """Run `python -m runner predict RUN FILE...`: predict images or the rows of a CSV file, or continue texts."""
    parser = argparse.ArgumentParser("runner predict", description="Predict for images or tables, or continue texts.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="images, folders, a CSV file, or prompts")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|FILE")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="F",
        help="a .csv or .json file; default: print CSV. Masks go into a folder F without its suffix",
    )
    options = parser.parse_intermixed_args(arguments)
    config = frozen_config(options.run)

    from runner.runs.predict import check_output, predict_files, write_rows

    check_output(options.output)
    pictures = None if options.output is None else options.output.with_suffix("")
    rows, unread = predict_files(config, options.run.absolute(), options.checkpoint, options.files, pictures)
    print(write_rows(rows, options.output), end="")
    return 1 if unread else 0


def verify(arguments: list[str]) -> int:
    """Run `python -m runner verify RUN`: train a part of a run again; return 1 if it differs from the record."""
    from runner.runs.commands import verify_options

    options = verify_options(arguments)
    config = frozen_config(options.run)

    from runner.runs.verify.verification import render, verify_run

    report = verify_run(config, options.run.absolute(), options.steps, options.start)
    print(render(report, options.format), end="")
    events.write(event("verify", equal=report.is_equal, **asdict(report)))
    return 0 if report.is_equal else 1


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


def frozen_config(
    folder: Path, overrides: Sequence[str] = (), trains: bool = False, config_dir: str | None = None
) -> "Config":
    """Return the checked config of a run folder.

    Args:
        folder: the run folder.
        overrides: new values.
        trains: whether the run is to be trained further.
        config_dir: the user's folder of config files, from which an override may choose.

    Raises:
        ConfigError: it is not a run folder, or the overrides do not fit its config.
    """
    from runner.runs.found import not_a_run
    from runner.sweep.jobs import is_sweep

    file = folder.absolute() / "config.yaml"
    if is_sweep(file.parent):
        raise ConfigError(f"{file.parent}: is a sweep folder; name one of its runs: {file.parent}/JOB")
    if not file.is_file():
        raise ConfigError(not_a_run(file.parent))
    config = thaw(file, overrides, config_dir)

    speed_up()
    from runner.plugins import check_origins
    from runner.runs.origin import with_origin, with_paths_of
    from runner.training.checks.check import check
    from runner.training.setup.initial import as_resumed

    if is_leader():
        check_origins(config.plugins, file.parent)
    config = with_paths_of(file.parent, config, overrides)
    try:
        starts = trains and not any((file.parent / "checkpoints").glob("*.pt"))
        check(config if starts else as_resumed(config), trains)
    except ConfigError as error:
        raise with_origin(file.parent, error) from error
    return config


def components(arguments: list[str]) -> int:
    """Run `python -m runner components [GROUP [NAME]]`: list the registered components."""
    from runner.registry import ALL_REGISTRIES

    parser = argparse.ArgumentParser("runner components", description="List the components that a config can choose.")
    parser.add_argument("group", nargs="?", help=f"one of: {', '.join(ALL_REGISTRIES)}")
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
    "diff": diff,
    "verify": verify,
    "export": export,
    "components": components,
}
