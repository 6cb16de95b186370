"""The commands that look at several runs: compare and diff. Neither imports torch to parse its arguments."""

import argparse
import shutil
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import ConfigError
from runner.tracking.events import event, events

if TYPE_CHECKING:  # looking at runs is imported when a command needs it
    from runner.runs.compare import Comparison
    from runner.runs.found import Run


def compare(arguments: list[str]) -> int:
    """Run `python -m runner compare FOLDER...`: show runs and sweeps in one table."""
    from runner.runs.formats import FORMATS, render
    from runner.runs.found import find_runs

    parser = argparse.ArgumentParser("runner compare", description="Show runs and sweeps in one table.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, sweeps, or folders of them")
    parser.add_argument("--sort", metavar="KEY", help="a column, best first; default: the first metric")
    parser.add_argument("--columns", metavar="KEY,...", help="only these columns: metrics or keys of the configs")
    parser.add_argument(
        "--metric", metavar="KEY", help="metric of the verdict, such as test/accuracy; default: each run's own"
    )
    parser.add_argument("--format", default="table", choices=FORMATS)
    parser.add_argument("--output", type=Path, metavar="F", help="a file; default: print the table")
    parser.add_argument(
        "--follow", action="store_true", help="with --format html: rewrite the page until all runs have ended"
    )
    parser.add_argument("--to", choices=("trackio", "mlflow"), help="upload the runs there, and print no table")
    parser.add_argument("--project", metavar="NAME", help="with --to: project or experiment; default: runner")
    options = parser.parse_intermixed_args(arguments)
    if options.project is not None and options.to is None:
        raise ConfigError("--project: names the project to upload to, and needs --to trackio or --to mlflow")
    runs = find_runs(options.folders)
    if options.to is not None:
        from runner.runs.bridge.upload import PROJECT, upload

        print(upload(runs, options.to, options.project or PROJECT))
        return 0
    if options.follow:
        return follow_runs(options)
    comparison = arrange(runs, options)
    width = shutil.get_terminal_size().columns if options.output is None and sys.stdout.isatty() else 120
    text = render(comparison, options.format, width, options.output)
    if options.output is None:
        print(text, end="")
        return 0
    try:
        options.output.write_text(text, "utf-8", errors="surrogateescape")  # for paths that are not UTF-8
    except OSError as error:
        raise ConfigError(f"--output: {options.output} cannot be written: {error.strerror}") from error
    print(f"{len(comparison.runs)} runs: {options.output.absolute()}")
    return 0


def arrange(runs: "list[Run]", options: argparse.Namespace) -> "Comparison":
    """Return the comparison of runs with the chosen order and columns."""
    from runner.runs.compare import Comparison

    comparison = Comparison(runs)
    comparison.sort(options.sort)
    if options.metric is not None:
        comparison.choose_metric(options.metric)
    if options.columns is not None:
        comparison.choose(options.columns.split(","))
    return comparison


def follow_runs(options: argparse.Namespace) -> int:
    """Write the page of the runs, and rewrite it until all of them have ended.

    Raises:
        ConfigError: the format is not html, there is no file, or it cannot be written.
    """
    from runner.runs.found import find_runs
    from runner.runs.page.follow import follow

    if options.format != "html" or options.output is None:
        raise ConfigError("--follow: needs an HTML page to rewrite; add --format html --output F, such as page.html")

    print(f"following until all runs have ended; Ctrl-C stops: {options.output.absolute()}", flush=True)
    follow(partial(find_runs, options.folders), partial(write_page, options))
    return 0


def write_page(options: argparse.Namespace, runs: "list[Run]", reloads: bool) -> None:
    """Write the page of runs; until all of them have ended, the page reloads itself.

    Raises:
        ConfigError: the file cannot be written.
    """
    from runner.machine.files import write_atomically
    from runner.runs.page import page
    from runner.runs.page.follow import RELOAD

    text = page(arrange(runs, options), options.output, RELOAD if reloads else None)
    try:
        write_atomically(options.output, text)
    except OSError as error:
        raise ConfigError(f"--output: {options.output} cannot be written: {error.strerror}") from error


def diff(arguments: list[str]) -> int:
    """Run `python -m runner diff RUN RUN`: show everything in which two runs differ; return 1 if they do."""
    parser = argparse.ArgumentParser("runner diff", description="Show everything in which two runs differ.")
    parser.add_argument("first", type=Path, help="a run folder")
    parser.add_argument("second", type=Path, help="another run folder")
    parser.add_argument("--format", default="text", choices=["text", "json"])
    options = parser.parse_args(arguments)

    from runner.runs.diff import diff_runs, render

    difference = diff_runs(options.first, options.second)
    print(render(difference, options.format), end="")
    events.write(event("diff", equal=difference.is_empty, **asdict(difference)))
    return 0 if difference.is_empty else 1


def verify_options(arguments: list[str]) -> argparse.Namespace:
    """Return the options of `python -m runner verify RUN`: run, steps, start and format.

    Raises:
        ConfigError: an option is invalid.
    """
    parser = argparse.ArgumentParser(
        "runner verify", description="Train a part of a run again, and compare it with the record, bit for bit."
    )
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument(
        "--steps", default="200", metavar="N", help="maximum number of steps to train, or all; default: 200"
    )
    parser.add_argument("--from", dest="start", metavar="STEP", help="0, the step of a checkpoint, or random")
    parser.add_argument("--format", default="text", choices=["text", "json"])
    options = parser.parse_args(arguments)
    if options.steps != "all" and not (options.steps.isdigit() and int(options.steps) > 0):
        raise ConfigError(f"--steps: found {options.steps!r}; allowed: a number of steps, at least 1, or all")
    if options.start not in (None, "random") and not options.start.isdigit():
        raise ConfigError(f"--from: found {options.start!r}; allowed: 0, the step of a checkpoint, or random")
    options.steps = None if options.steps == "all" else int(options.steps)
    return options
