"""Compose, check and freeze the jobs of a sweep before the first one starts."""

import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.config.calling import describe_search
from runner.config.compose import Composer
from runner.config.schema import Config, flatten
from runner.errors import ConfigError, SweepStopped
from runner.machine.ranks import world_size
from runner.runs.folder import make_folder, safe_name
from runner.sweep.execution import server
from runner.sweep.execution.machine import Machine
from runner.sweep.execution.tasks import count_tasks, unsupported
from runner.sweep.jobs import Job, Sweep, folder_name, run_overrides, with_threads
from runner.sweep.race.jobs import check_race, largest_round, unsupported_race
from runner.sweep.report.screen import count
from runner.sweep.search import Search
from runner.tracking.console import console
from runner.tracking.events import event


@dataclass
class Composed:
    """The composed jobs.

    Args:
        names: the folder name of each job.
        texts: the overrides of each job, one for each key.
        configs: the configs that could be composed, by number of the job.
        problems: the problems of the other jobs, by number of the job.
    """

    names: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    configs: dict[int, Config] = field(default_factory=dict)
    problems: dict[int, Sequence[str]] = field(default_factory=dict)


def plan(
    composer: Composer, overrides: Sequence[Sequence[str]], sweep: Sweep | None, here: bool
) -> tuple[Sweep, list[Job], Machine]:
    """Compose and check jobs, and freeze them in the sweep's folder, before any of them starts.

    Args:
        composer: composes the configs.
        overrides: the overrides of each job.
        sweep: the sweep to add the jobs to; None: a new one.
        here: whether the jobs run on this machine and share its threads.

    Returns:
        The sweep, the new jobs, and the machine that they share.

    Raises:
        ConfigError: a job cannot run; nothing was created.
        SweepStopped: it is a dry run; the jobs have been listed.
    """
    check_no_torchrun()
    composed = compose_jobs(composer, overrides, [job.folder for job in sweep.jobs] if sweep else [])
    configs = composed.configs
    tasks = 1 if here else count_tasks(composer.master.hydra.launcher)
    refused, gpus = server.check(configs, tasks)
    problems = composed.problems | refused | unsupported(configs, tasks)
    problems |= differing_settings(configs) | wrong_directions(configs, composer.master.hydra.sweeper)
    problems |= unsupported_race(configs, composer.master.hydra)
    if problems:
        raise ConfigError(*merge_problems(problems, composed.names))

    metrics = {(each.trainer.checkpoint.metric, each.trainer.checkpoint.mode) for each in configs.values()}
    if len(metrics) > 1:
        console.warn("the jobs differ in trainer.checkpoint; the table uses that of the first job")
    settings = configs[0].sweep
    max_jobs = largest_round(len(configs), settings)
    machine = Machine.share(settings.jobs, gpus if here else [], max_jobs, settings.processes)
    jobs = freeze_jobs(composer, composed, overrides, machine.threads if here else None)
    if settings.race.max_seeds is not None:
        check_race(jobs)
    if configs[0].dry_run:
        print_jobs(jobs)
        raise SweepStopped(exit_code=0)
    if sweep is None:
        found = describe_search(composer.master)
        sweep = Sweep(make_sweep_folder(list(configs.values())), [], None if found is None else Search(**found))
    sweep.jobs += jobs
    sweep.save()
    return sweep, jobs, machine


def freeze_jobs(
    composer: Composer, composed: Composed, overrides: Sequence[Sequence[str]], threads: int | None
) -> list[Job]:
    """Return the composed jobs.

    Args:
        composer: composes the configs.
        composed: the composed jobs.
        overrides: the overrides of each job.
        threads: number of threads of each process; None: as configured.
    """
    jobs = []
    for number, config in composed.configs.items():
        texts = composed.texts[number]
        over = [text for text in texts if is_swept(text, overrides[number], composer.constant)]
        frozen = config if threads is None else with_threads(config, threads)
        jobs.append(Job(composed.names[number], texts, composer.flags, swept_values(over, config), frozen))
    return jobs


def compose_jobs(composer: Composer, overrides: Sequence[Sequence[str]], taken: Sequence[str]) -> Composed:
    """Compose jobs, each with a folder name that is not `taken`."""
    composed, names = Composed(), list(taken)
    # The problems found so far, because explaining one takes a while: those of a missing key under the key, and those
    # of a value under the whole override.
    known: dict[str, list[str]] = {}
    for number, each in enumerate(overrides):
        texts = list({key_of(text): text for text in each}.values())  # the last one for a key counts
        over = [text for text in texts if is_swept(text, each, composer.constant)]
        names.append(folder_name(over or texts, names))
        composed.texts.append(texts)
        lines = [line for text in texts for line in known.get(text, known.get(key_of(text), []))]
        try:
            composed.configs[number] = composer.compose(texts, explain=not lines, number=len(names) - 1)
        except ConfigError as error:
            composed.problems[number] = lines or error.problems
            for text in texts:
                about_key = [line for line in composed.problems[number] if line.startswith(f"{key_of(text)}:")]
                if about_key:
                    known[key_of(text) if "no such key" in about_key[0] else text] = about_key
    composed.names = names[len(taken) :]
    return composed


def check_no_torchrun() -> None:
    """Raise ConfigError under torchrun."""
    if world_size() > 1:
        raise ConfigError(
            "torchrun: its processes train one run together; run a sweep without torchrun. "
            "With sweep.processes=N, it trains each job in N processes"
        )


def differing_settings(configs: Mapping[int, Config]) -> dict[int, list[str]]:
    """Return the problems of jobs whose sweep settings differ from those of the first job."""
    problems: dict[int, list[str]] = {}
    first: dict[str, Any] = {}
    for number, config in configs.items():
        values = flatten(config.model_dump(include={"sweep", "dry_run", "output_dir"}))
        first = first or values
        wrong = [
            f"{key}: found {first[key]} and {value}; it holds for the whole sweep: give it a single value"
            for key, value in values.items()
            if value != first[key]
        ]
        if wrong:
            problems[number] = wrong
    return problems


def wrong_directions(configs: Mapping[int, Config], sweeper: Any) -> dict[int, list[str]]:
    """Return the problems of jobs that minimize the metric while the search maximizes it, or the reverse.

    Args:
        configs: configs by number of the job.
        sweeper: config of the sweeper, whose `direction` is a word, an enum (Optuna's default), or a list of them.
    """
    directions = sweeper.get("direction")
    if directions is None:
        return {}
    several = isinstance(directions, Sequence) and not isinstance(directions, str)
    found = [str(getattr(each, "name", each)) for each in (directions if several else [directions])]
    problems = {}
    for number, config in configs.items():
        keep = config.trainer.checkpoint
        wanted = {"min": "minimize", "max": "maximize"}[keep.mode]
        if len(found) != 1:
            problems[number] = [
                f"hydra.sweeper.direction: found {len(found)} directions, but a search has a single objective, "
                f"trainer.checkpoint.metric={keep.metric}; allowed: {wanted}"
            ]
        elif found != [wanted]:
            problems[number] = [
                f"hydra.sweeper.direction: found {found[0]}, but trainer.checkpoint.mode={keep.mode} "
                f"({keep.metric}); set hydra.sweeper.direction={wanted}, or change the mode"
            ]
    return problems


def key_of(override: str) -> str:
    """Return the key of an override, as typed: with a leading + or ~ if there is one."""
    return override.partition("=")[0]


def is_swept(text: str, overrides: Sequence[str], constant: Set[str]) -> bool:
    """Return whether an override may differ between jobs: it has several values, or a job file sets the same key.

    Args:
        text: override.
        overrides: all overrides of the job, including those for the same key.
        constant: keys that were typed with a single value.
    """
    return key_of(text) not in constant or [key_of(each) for each in overrides].count(key_of(text)) > 1


def swept_values(overrides: Sequence[str], config: Config) -> dict[str, Any]:
    """Return the keys of overrides with their values in the config; for a group, with the name of the option."""
    values = flatten(config.model_dump())
    texts = {key_of(text).lstrip("+~"): text.partition("=")[2] for text in overrides}
    return {key: values.get(key, text) for key, text in texts.items()}


def merge_problems(problems: Mapping[int, Sequence[str]], names: Sequence[str]) -> list[str]:
    """Return each problem once, followed by the jobs that have it.

    Args:
        problems: the problems by number of the job.
        names: the name of each job.
    """
    jobs_with: dict[str, list[str]] = {}
    for number, lines in problems.items():
        for line in lines:
            jobs_with.setdefault(line, []).append(names[number])
    found = []
    for line, jobs in jobs_with.items():
        some = ", ".join(jobs[:5]) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")
        found.append(line if len(jobs) == len(names) else f"{line}  [in {len(jobs)} of {len(names)} jobs: {some}]")
    return found


def print_jobs(jobs: Sequence[Job]) -> None:
    """Print the overrides of each job."""
    for number, job in enumerate(jobs, start=1):
        console.print(f"{number:>4}  {shlex.join(run_overrides(job.overrides))}")
    listed = [{"job": job.folder, "overrides": run_overrides(job.overrides)} for job in jobs]
    text = f"dry run: {count(len(jobs))}, all checked; nothing was created"
    console.print(text, event=event("dry run", jobs=listed))


def make_sweep_folder(configs: Sequence[Config]) -> Path:
    """Create the sweep folder, named after the day, the time and the names of the jobs."""
    now, name = datetime.now(), "+".join(dict.fromkeys(config.name for config in configs))
    root = Path(configs[0].output_dir).absolute()
    return make_folder(root / now.strftime("%Y-%m-%d"), f"{now:%H-%M-%S}_sweep_{safe_name(name)}")
