"""Compose, check and freeze the jobs of a sweep before the first one starts."""

import shlex
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.config.compose import Composer
from runner.config.schema import Config, flatten
from runner.errors import ConfigError
from runner.machine.ranks import world_size
from runner.runs.folder import make_folder, safe_name
from runner.sweep import server
from runner.sweep.jobs import Job, Sweep, folder_name, own
from runner.sweep.pool import cores
from runner.sweep.screen import count
from runner.tracking.console import console

current: list[tuple[Sweep, float]] = []  # the sweep of this process, until it is told of; and when it started


@dataclass(frozen=True)
class Machine:
    """How many jobs share this machine at a time, and what each gets of it."""

    places: int
    gpus: list[str]

    @classmethod
    def share(cls, jobs: int | None, gpus: list[str], most: int) -> "Machine":
        """Args: jobs: as many as are wanted at once; None: one for each GPU, or each core. most: that there are."""
        return cls(max(1, min(jobs or len(gpus) or cores(), most)), gpus)

    @property
    def threads(self) -> int:
        """For each job, so that all together have no more than there are cores."""
        return max(1, cores() // self.places)

    def describe(self, threads: int | None) -> str:
        each = f"{threads} thread{'' if threads == 1 else 's'} each"
        return f"{self.places} at a time, " + (f"on GPUs {', '.join(self.gpus)}" if self.gpus else each)


@dataclass
class Composed:
    """Jobs as they were composed.

    Args:
        names: the names of their folders.
        texts: the overrides of each job, one for each key.
        configs: by number; those that compose.
        problems: by number; what is wrong with the others.
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
        composer: composes their configs.
        overrides: of each job.
        sweep: to which they are added; None creates one.
        here: whether they will share this machine, and so its threads.

    Raises:
        ConfigError: with a line for each problem, and the jobs that have it; nothing was created.
        SystemExit: it is a dry run, and the jobs are listed.
    """
    refuse_torchrun()
    composed = compose_jobs(composer, overrides, [job.folder for job in sweep.jobs] if sweep else [])
    configs = composed.configs
    refused, gpus = server.check(configs)
    problems = composed.problems | refused
    problems |= of_the_whole(configs) | against_the_search(configs, composer.master.hydra.sweeper)
    if problems:
        raise ConfigError(*told(problems, composed.names))

    metrics = {(each.trainer.checkpoint.metric, each.trainer.checkpoint.mode) for each in configs.values()}
    if len(metrics) > 1:
        console.print("warning: the jobs have different trainer.checkpoint.metric; the first job's is used")
    machine = Machine.share(configs[0].sweep.jobs, gpus, len(configs))
    jobs, flags = [], ["--config-dir", composer.config_dir] if composer.config_dir else []
    for number, config in configs.items():
        texts = composed.texts[number]
        over = [text for text in texts if is_swept(text, overrides[number], composer.constant)]
        frozen = with_threads(config, machine.threads) if here else config
        jobs.append(Job(composed.names[number], texts, flags, swept_values(over, config), frozen))
    if configs[0].dry_run:
        list_jobs(jobs)
        raise SystemExit(0)
    return freeze_jobs(jobs, sweep, list(configs.values())), jobs, machine


def compose_jobs(composer: Composer, overrides: Sequence[Sequence[str]], taken: Sequence[str]) -> Composed:
    """Compose the jobs, each with a folder name that is not `taken`."""
    composed, names = Composed(), list(taken)
    known: dict[str, list[str]] = {}  # problems of an override or a key: finding them takes a while
    for number, each in enumerate(overrides):
        texts = list({key_of(text): text for text in each}.values())  # the last for a key counts
        over = [text for text in texts if is_swept(text, each, composer.constant)]
        names.append(folder_name(over or texts, names))
        composed.texts.append(texts)
        lines = [line for text in texts for line in known.get(text, known.get(key_of(text), []))]
        try:
            composed.configs[number] = composer.compose(texts, explain=not lines, number=len(names) - 1)
        except ConfigError as error:
            composed.problems[number] = lines or error.problems
            for text in texts:
                own = [line for line in composed.problems[number] if line.startswith(f"{key_of(text)}:")]
                if own:
                    known[key_of(text) if "no such key" in own[0] else text] = own
    composed.names = names[len(taken) :]
    return composed


def freeze_jobs(jobs: list[Job], sweep: Sweep | None, configs: Sequence[Config]) -> Sweep:
    """Add jobs to a sweep, or create one for them, and write sweep.yaml."""
    if sweep is None:
        sweep = Sweep(make_sweep_folder(configs), jobs)
        current[:] = [(sweep, time.monotonic())]
    else:
        sweep.jobs += jobs
    sweep.save()
    return sweep


def refuse_torchrun() -> None:
    if world_size() > 1:
        raise ConfigError("torchrun: its processes train one run together; a sweep starts its own: leave torchrun out")


def of_the_whole(configs: Mapping[int, Config]) -> dict[int, list[str]]:
    """What is wrong with jobs that want another sweep than the first one does."""
    problems: dict[int, list[str]] = {}
    first: dict[str, Any] = {}
    for number, config in configs.items():
        values = flatten(config.model_dump(include={"sweep", "dry_run", "output_dir"}))
        first = first or values
        wrong = [
            f"{key}: is of the whole sweep, and found {first[key]} and {value}"
            for key, value in values.items()
            if value != first[key]
        ]
        if wrong:
            problems[number] = wrong
    return problems


def against_the_search(configs: Mapping[int, Config], sweeper: Any) -> dict[int, list[str]]:
    """What is wrong with jobs whose best checkpoint is not what the search looks for."""
    direction = sweeper.get("direction")
    found = str(getattr(direction, "name", direction))  # optuna's default is of a type of its own
    problems = {}
    for number, config in configs.items():
        keep = config.trainer.checkpoint
        wanted = {"min": "minimize", "max": "maximize"}[keep.mode]
        if found in ("minimize", "maximize") and found != wanted:
            problems[number] = [
                f"hydra.sweeper.direction: found {found}, but trainer.checkpoint.mode={keep.mode} "
                f"({keep.metric}); set hydra.sweeper.direction={wanted}, or the other mode"
            ]
    return problems


def key_of(override: str) -> str:
    return override.partition("=")[0]


def is_swept(text: str, overrides: Sequence[str], constant: Set[str]) -> bool:
    """Whether an override differs between jobs: it was not typed with one value, or a file of jobs has another."""
    return key_of(text) not in constant or [key_of(each) for each in overrides].count(key_of(text)) > 1


def swept_values(overrides: Sequence[str], config: Config) -> dict[str, Any]:
    """The values of overrides as the config has them; the name of an option, for a group."""
    values = flatten(config.model_dump())
    texts = {key_of(text).lstrip("+~"): text.partition("=")[2] for text in overrides}
    return {key: values.get(key, text) for key, text in texts.items()}


def with_threads(config: Config, threads: int) -> Config:
    """The config with its share of threads, where it does not ask for another number: resumed, it has the same."""
    if config.device.threads is not None:
        return config
    return config.model_copy(update={"device": config.device.model_copy(update={"threads": threads})})


def told(problems: Mapping[int, Sequence[str]], names: Sequence[str]) -> list[str]:
    """Each problem once, with the jobs that have it."""
    where: dict[str, list[str]] = {}
    for number, lines in problems.items():
        for line in lines:
            where.setdefault(line, []).append(names[number])
    told = []
    for line, jobs in where.items():
        some = ", ".join(jobs[:5]) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")
        told.append(line if len(jobs) == len(names) else f"{line}  [in {len(jobs)} of {len(names)} jobs: {some}]")
    return told


def list_jobs(jobs: Sequence[Job]) -> None:
    for number, job in enumerate(jobs, start=1):
        console.print(f"{number:>4}  {shlex.join(own(job.overrides))}")
    console.print(f"dry run: {count(len(jobs))}, all checked; nothing was created")


def make_sweep_folder(configs: Sequence[Config]) -> Path:
    """Makes the sweep's folder, named by day, time and the jobs' names."""
    now, name = datetime.now(), "+".join(dict.fromkeys(config.name for config in configs))
    root = Path(configs[0].output_dir).absolute()
    return make_folder(root / now.strftime("%Y-%m-%d"), f"{now:%H-%M-%S}_sweep_{safe_name(name)}")
