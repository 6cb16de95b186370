"""The console output of a sweep: a line for each start and end, a live table on a terminal, and the final table.

Each line about a job is also an event: see `runner.tracking.events`.
"""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.live import Live
from rich.table import Table as RichTable

from runner.runs.tables import fitted_table, one_line, show, without
from runner.runs.verdict.sentences import as_text
from runner.sweep.jobs import Job, Sweep
from runner.sweep.report.table import Table
from runner.tracking.console import console, in_shell, relative
from runner.tracking.events import event, events
from runner.tracking.results import DONE, read_results

SHOWN = 30  # maximum number of rows in the final table; sweep.md has all
LONGEST_TITLE = 60  # characters of a job's title
MOST_GROUPS = 8  # lines about groups in the verdict
LONGEST_MESSAGE = 3  # lines of an error message


@dataclass(frozen=True)
class Line:
    """A line about a job.

    Args:
        word: first word of the line; the number and the title of the job follow.
        what: text after the title.
        style: style of the line, as Rich names it.
        event: what happened, for programs, such as "job started".
        facts: what is known about it, besides number, folder and swept values of the job.
    """

    word: str
    what: str = ""
    style: str | None = None
    event: str = "job ended"
    facts: dict[str, Any] = field(default_factory=dict)


class Screen:
    """The console while jobs run.

    Args:
        table: results of the jobs.
    """

    def __init__(self, table: Table) -> None:
        self.table, self.sweep = table, table.sweep
        self.running: dict[str, tuple[Job, float]] = {}
        self.total, self.number = len(self.sweep.jobs), {job.folder: n for n, job in enumerate(self.sweep.jobs, 1)}
        on_terminal = console.is_terminal and not events.are_on
        self.live = Live(console=console, auto_refresh=False, transient=True) if on_terminal else None

    def __enter__(self) -> "Screen":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self.live is not None:
            self.live.stop()

    def print(self, job: Job, line: Line) -> None:
        """Print a line about a job."""
        title, number = one_line(job.title), self.number[job.folder]
        short = title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"
        about = {"job": job.folder, "number": number, "of": self.total, "swept": job.swept}
        text = f"{line.word:<9}{number:>3}/{self.total} {short}{line.what}"
        console.print(text, event=event(line.event, **about, **line.facts), style=line.style)

    def started(self, job: Job, again: int, of: int) -> None:
        """Report the start of a job.

        Args:
            job: job that has started.
            again: number of earlier tries.
            of: largest number of retries.
        """
        self.running[job.folder] = (job, time.monotonic())
        facts = {"folder": str(self.sweep.path(job)), "try": again + 1, "tries": of + 1}
        if again:
            what = f" (try {again + 1} of {of + 1})"
            self.print(job, Line("again", what, event="job retried", facts=facts))
        elif self.live is None:  # on a terminal, the live table shows a first start
            self.print(job, Line("started", event="job started", facts=facts))

    def ended(self, job: Job) -> None:
        """Report the end of a job."""
        self.running.pop(job.folder, None)
        results = self.table.results(job)
        status, error = self.table.status(job), results.get("error")
        metric = f"best {self.table.metric}"
        best = f": {metric} {show(self.table.metrics(job)[metric])}" if metric in self.table.metrics(job) else ""
        facts = {"folder": str(self.sweep.path(job)), "status": status, "results": results}
        if status in DONE:
            word = {"completed": "done", "stopped early": "stopped"}[status]
            behind = f" early, at epoch {results['epoch']}" if status == "stopped early" else ""
            self.print(job, Line(word, f"{behind} in {results['seconds']['total']:.1f} s{best}", facts=facts))
        elif error:
            first, *more = error["message"].splitlines() or [""]
            self.print(job, Line(status, f": {error['type']}: {one_line(first)}", "red", facts=facts))
            for line in more[: LONGEST_MESSAGE - 1]:
                console.print(" " * 9 + one_line(line), style="red")
            if status == "failed":
                console.print(" " * 9 + f"see {relative(self.sweep.path(job) / 'run.log')}", style="red")
        else:
            self.print(job, Line("stopped", f" at epoch {results.get('epoch', 0)}", "yellow", facts=facts))

    def refused(self, job: Job, why: str) -> None:
        """Report a job that could not start."""
        self.running.pop(job.folder, None)
        error = {"type": "Refused", "message": why}
        facts = {"folder": str(self.sweep.path(job)), "status": "failed", "results": {"error": error}}
        self.print(job, Line("failed", f": {why}", "red", facts=facts))

    def ending(self, running: Sequence[Job]) -> None:
        """Report that the running jobs have been asked to stop."""
        if running:
            names = ", ".join(one_line(job.title) for job in running)
            text = f"stopping {names}: each job saves first; a second signal, or a minute, kills jobs still running"
            console.print(text, event=event("stopping", jobs=[job.folder for job in running]), style="yellow")

    def refresh(self) -> None:
        """Update the live table."""
        if self.live is not None:
            self.live.update(self.picture(), refresh=True)

    def picture(self) -> RichTable:
        """Return the running jobs as a table."""
        done = sum(self.table.status(job) not in ("waiting", "running") for job in self.sweep.jobs)
        waiting = self.total - done - len(self.running)
        title = f"{done} of {self.total} ended, {len(self.running)} running, {waiting} waiting"
        picture = RichTable(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
        for column in ("job", "epoch", "train loss", self.table.metric, "seconds"):
            picture.add_column(column, overflow="ellipsis", no_wrap=True)
        for job, since in self.running.values():
            picture.add_row(*self.cells(job, read_results(self.sweep.path(job)), time.monotonic() - since))
        return picture

    def cells(self, job: Job, results: dict[str, Any], seconds: float) -> list[str]:
        """Return the row of a running job."""
        part, _, name = self.table.metric.partition("/")
        epochs = job.config.trainer.epochs
        return [
            one_line(job.title),
            str(results.get("epoch", 0)) + ("" if epochs is None else f"/{epochs}"),
            show(results.get("train", {}).get("loss")),
            show(results.get(part, {}).get(name)),
            f"{seconds:.0f}",
        ]


def show_plan(sweep: Sweep, jobs: int, where: str) -> None:
    """Print the folder, the number of jobs, the swept keys, and where the jobs will run."""
    over, race = f" over {', '.join(sweep.swept)}" if sweep.swept else "", sweep.settings.race
    most = "" if race.max_seeds is None else f"race with up to {race.max_seeds} seeds: at most "
    start = event("sweep started", folder=str(sweep.folder), jobs=jobs, of=len(sweep.jobs), swept=sweep.swept)
    console.print(f"folder   {relative(sweep.folder)}\nsweep    {most}{count(jobs)}{over}, {where}", event=start)


def report_end(table: Table, exit_code: int) -> None:
    """Report the end of a sweep to programs: its verdict, if there is one, and what sweep.json holds besides the jobs.

    Args:
        table: results of the jobs.
        exit_code: exit code of the sweep.
    """
    if events.are_on:
        found = {"folder": str(table.sweep.folder), "exit_code": exit_code, "counts": table.counts()}
        whole = without(table.as_json(table.verdicts()), "schema", "jobs")
        if whole.get("verdict") is not None:
            events.write(event("verdict", **whole["verdict"]))
        events.write(event("sweep ended", **found, **whole))


def count(jobs: int) -> str:
    """Return a number of jobs with its noun, such as `1 job` or `2 jobs`."""
    return f"{jobs} job{'' if jobs == 1 else 's'}"


def show_end(table: Table, seconds: float) -> None:
    """Print the final table, the best job, and the commands to use next."""
    sweep, best, counts = table.sweep, table.best(), table.counts()
    rows = [without(table.row(job), "job" if sweep.swept else "", "error", "overrides") for job in sweep.jobs]
    lines, left_out = fitted_table(rows[:SHOWN], console.width)
    if len(rows) > SHOWN:
        lines.append(f"... and {len(rows) - SHOWN} more in sweep.md")
    if table.has_repeats:
        means, more = fitted_table([group.row() for group in table.groups()], console.width)
        lines += ["", "mean ± standard deviation:", *means]
        left_out = list(dict.fromkeys([*left_out, *more]))
    if left_out:
        lines.append(f"left out: {', '.join(left_out)}; sweep.md has all columns")
    lines += verdict_lines(table)
    console.print("\n".join(["", *lines]))
    show_what_next(table, best, ", ".join(f"{n} {status}" for status, n in counts.items()), seconds)


def verdict_lines(table: Table) -> list[str]:
    """Return the verdict, after an empty line, as lines that fit the console."""
    found, mark = [], "verdict"
    for line in as_text(table.verdicts(), MOST_GROUPS, "sweep.md"):
        found += textwrap.wrap(line, console.width, initial_indent=f"{mark:<9}", subsequent_indent=" " * 11)
        mark = ""
    return ["", *found] if found else []


def show_what_next(table: Table, best: Job | None, counts: str, seconds: float) -> None:
    """Print the best job with the command that repeats it, the files, and the commands that continue the sweep."""
    sweep, folder, typed = table.sweep, relative(table.sweep.folder), in_shell(table.sweep.folder)
    console.print(f"\n{counts} in {seconds:.1f} s")
    if best is not None:
        value = table.metrics(best).get(f"best {table.metric}")
        console.print(f"best     {one_line(best.title)}: {table.metric} {show(value)}\nrepeat   {table.command(best)}")
    console.print(f"table    {folder}/sweep.md\npicture  {folder}/sweep.png")
    console.print(f"look     tensorboard --logdir {typed}")
    if any(table.is_left(job, retry_failed=True) and not table.is_left(job) for job in sweep.jobs):
        console.print(f"again    python -m runner resume {typed} --retry-failed")
    if left := [one_line(job.title) for job in sweep.jobs if table.is_left(job)]:
        console.print(f"left     {count(len(left))}: {', '.join(left[:10])}{', ...' if len(left) > 10 else ''}")
        console.print(f"resume   python -m runner resume {typed}")
