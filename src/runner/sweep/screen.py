"""What a person sees of a sweep: a line for each start and end, on a terminal a live table, and the table at last."""

import time
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.live import Live
from rich.table import Table as RichTable

from runner.log import console
from runner.results import DONE, read_results
from runner.sweep.jobs import Job, Sweep
from runner.sweep.table import Table
from runner.tables import one_line, show, text_table, without

SHOWN = 30  # rows of the last table; sweep.md has all


class Screen:
    """The console while jobs run.

    Args:
        table: what is known of the jobs.
    """

    def __init__(self, table: Table) -> None:
        self.table, self.sweep = table, table.sweep
        self.running: dict[str, tuple[Job, float]] = {}
        self.total, self.number = len(self.sweep.jobs), {job.folder: n for n, job in enumerate(self.sweep.jobs, 1)}
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Screen":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, word: str, job: Job, what: str = "", style: str | None = None) -> None:
        console.print(f"{word:<9}{self.number[job.folder]:>3}/{self.total} {job.folder}{what}", style=style)

    def started(self, job: Job, again: int, of: int) -> None:
        self.running[job.folder] = (job, time.monotonic())
        if again or self.live is None:  # on a terminal the live table shows it
            self.say("again" if again else "started", job, f" (try {again + 1} of {of + 1})" if again else "")

    def ended(self, job: Job) -> None:
        """Says at once what came of a job."""
        self.running.pop(job.folder, None)
        results = self.table.results(job)
        status, error = self.table.status(job), results.get("error")
        numbers = "  ".join(f"{name} {show(value)}" for name, value in self.table.metrics(job).items())
        if status in DONE:
            word = {"completed": "done", "stopped early": "stopped"}[status]
            behind = f" early, at epoch {results['epoch']}" if status == "stopped early" else ""
            self.say(word, job, f"{behind} in {results['seconds']['total']:.1f} s: {numbers}")
        elif error:
            self.say(status, job, f": {error['type']}: {one_line(error['message'])}", style="red")
        else:
            self.say("stopped", job, f" at epoch {results.get('epoch', 0)}", style="yellow")

    def refused(self, job: Job, why: str) -> None:
        """A job that could not even begin."""
        self.running.pop(job.folder, None)
        self.say("failed", job, f": {why}", style="red")

    def ending(self, running: Sequence[Job]) -> None:
        if running:
            names = ", ".join(job.folder for job in running)
            console.print(f"stopping {names}: they save first; a second signal kills them, or a minute", style="yellow")

    def refresh(self) -> None:
        if self.live is not None:
            self.live.update(self.picture(), refresh=True)

    def picture(self) -> RichTable:
        """The jobs in hand."""
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
        part, _, name = self.table.metric.partition("/")
        epochs = job.config.trainer.epochs
        return [
            job.folder,
            str(results.get("epoch", 0)) + ("" if epochs is None else f"/{epochs}"),
            show(results.get("train", {}).get("loss")),
            show(results.get(part, {}).get(name)),
            f"{seconds:.0f}",
        ]


def show_plan(sweep: Sweep, jobs: int, where: str) -> None:
    """What is about to run: so many of the sweep's jobs."""
    over = f" over {', '.join(sweep.swept)}" if sweep.swept else ""
    console.print(f"folder   {sweep.folder}\nsweep    {count(jobs)}{over}, {where}")


def count(jobs: int) -> str:
    return f"{jobs} job{'' if jobs == 1 else 's'}"


def show_end(table: Table, seconds: float) -> None:
    """The table, the best job with the command that repeats it, and how to go on."""
    sweep, best, counts = table.sweep, table.best(), table.counts()
    rows = [without(table.row(job), "job" if sweep.swept else "", "error", "overrides") for job in sweep.jobs]
    console.print("\n".join(["", *text_table(rows[:SHOWN])]))
    if len(rows) > SHOWN:
        console.print(f"... and {len(rows) - SHOWN} more in sweep.md")
    if table.has_repeats:
        groups = text_table([group.row() for group in table.groups()])
        console.print("\n".join(["", "mean ± standard deviation:", *groups]))
    console.print(f"\n{', '.join(f'{n} {status}' for status, n in counts.items())} in {seconds:.1f} s")
    if best is not None:
        value = table.metrics(best).get(f"best {table.metric}")
        console.print(f"best     {best.folder}: {table.metric} {show(value)}\nrepeat   {table.command(best)}")
    console.print(f"table    {sweep.folder}/sweep.md (.csv, .json, .png)")
    console.print(f"look     tensorboard --logdir {sweep.folder}")
    if any(table.is_left(job, retry_failed=True) and not table.is_left(job) for job in sweep.jobs):
        console.print(f"again    python -m runner resume {sweep.folder} --retry-failed")
    if left := [job.folder for job in sweep.jobs if table.is_left(job)]:
        console.print(f"left     {count(len(left))}: {', '.join(left[:10])}{', ...' if len(left) > 10 else ''}")
        console.print(f"go on    python -m runner resume {sweep.folder}")
