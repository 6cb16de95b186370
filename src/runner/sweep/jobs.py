"""The jobs of a sweep: made from the overrides, and frozen in sweep.yaml before the first one starts."""

import hashlib
import itertools
import re
import shlex
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from runner.config.parse import parse
from runner.config.schema import Config
from runner.config.schema import Sweep as Settings
from runner.config.yaml_file import read_yaml
from runner.errors import ConfigError
from runner.machine.files import write_atomically
from runner.runs.folder import safe_name
from runner.sweep.search import Search

FILE = "sweep.yaml"
LONGEST_NAME = 120  # bytes
NUMBER_OR_NAME = re.compile(r"[\w.+-]+")  # also matches 1e-3, which YAML reads as a string
Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        folder: name of its run folder, inside the sweep folder.
        overrides: all overrides that its config was composed from.
        flags: flags of the command line, such as --config-dir.
        swept: swept keys with the values of this job.
        config: complete config.
    """

    folder: str
    overrides: list[str]
    flags: list[str]
    swept: dict[str, Any]
    config: Config

    @property
    def title(self) -> str:
        """The overrides of the swept keys, as typed; the name of the folder if nothing is swept."""
        return self.typed(self.swept) or self.folder

    def typed(self, keys: Collection[str]) -> str:
        """Return the overrides of some keys, as typed."""
        texts = run_overrides(self.overrides)
        return ",".join(text for text in texts if text.partition("=")[0].lstrip("+~") in keys)

    def command(self, overrides: Sequence[str]) -> str:
        """Return the command that repeats this run outside the sweep, with as many processes.

        Args:
            overrides: overrides of the run.
        """
        words = run_overrides(overrides)
        threads = self.config.device.threads
        if threads is not None and not any(text.startswith("device.threads=") for text in words):
            words.append(f"device.threads={threads}")  # sums depend on the number of threads, in their last bits
        processes = self.config.sweep.processes
        several = ["torchrun", "--standalone", f"--nproc_per_node={processes}"]
        return shlex.join([*(several if processes > 1 else ["python"]), "-m", "runner", *self.flags, *words])


def run_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that concern the run itself: the last one of each key, without `sweep.*` and `dry_run`."""
    last = {text.partition("=")[0]: text for text in overrides}
    return [text for text in last.values() if not text.lstrip("+").startswith(("sweep.", "dry_run="))]


@dataclass
class Sweep:
    """The jobs in a sweep folder.

    Args:
        folder: sweep folder.
        jobs: jobs in the order in which they start.
        search: the search that proposes the jobs; None: they were listed.
        began: when this process started or resumed the sweep, in the time of `time.monotonic`.
    """

    folder: Path
    jobs: list[Job]
    search: Search | None = None
    began: float = field(default_factory=time.monotonic, compare=False)

    @classmethod
    def open(cls, folder: Path) -> "Sweep":
        """Read sweep.yaml.

        Raises:
            ConfigError: the file is damaged, or names a run folder outside the sweep folder.
        """
        try:
            frozen = read_yaml(folder / FILE)
            jobs = [Job(**{**job, "config": parse(job["config"])}) for job in frozen["jobs"]]
            for job in jobs:
                if job.folder != safe_name(job.folder, LONGEST_NAME):
                    raise ValueError(f"{job.folder!r} is not the name of a job's folder")
            if not jobs:
                raise ValueError("it has no jobs")
            search = TypeAdapter(Search | None).validate_python(frozen.get("search"))
        except ConfigError as error:
            raise ConfigError(*(f"{folder / FILE}: damaged: {problem}" for problem in error.problems)) from error
        except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{folder / FILE}: damaged: {type(error).__name__}: {error}") from error
        return cls(folder, jobs, search)

    def save(self) -> None:
        """Write sweep.yaml."""
        plain = [{**vars(job), "config": job.config.model_dump()} for job in self.jobs]
        values = {"schema": 1, **({"search": vars(self.search)} if self.search else {}), "jobs": plain}
        write_atomically(self.folder / FILE, yaml.dump(values, Dumper=Dumper, sort_keys=False))

    @property
    def settings(self) -> Settings:
        """The settings that the sweep was started with."""
        return self.jobs[0].config.sweep

    @property
    def swept(self) -> list[str]:
        """The swept keys."""
        return list(dict.fromkeys(key for job in self.jobs for key in job.swept))

    def path(self, job: Job) -> Path:
        """Return the run folder of a job."""
        return self.folder / job.folder


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is a sweep folder."""
    return (folder / FILE).is_file()


def swept_in(run: Path) -> dict[str, Any]:
    """Return the swept keys with the values of a run; an empty dict for a run outside a sweep.

    Args:
        run: run folder.
    """
    if not is_sweep(run.parent):
        return {}
    return next((job.swept for job in Sweep.open(run.parent).jobs if job.folder == run.name), {})


def folder_name(overrides: Iterable[str], taken: Sequence[str]) -> str:
    """Return a name for the run folder of a job, made of overrides: at most 120 bytes, and not among those `taken`.

    Names that differ only in case count as equal, as in the file systems of macOS.
    """
    text = ",".join(overrides)
    name = safe_name(text, LONGEST_NAME)
    if len(text.encode()) > LONGEST_NAME:
        name = f"{safe_name(text, LONGEST_NAME - 9)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    numbered = (f"{safe_name(name, LONGEST_NAME - 5)}-{number}" for number in itertools.count(2))
    known = {each.casefold() for each in taken}
    return next(each for each in itertools.chain([name], numbered) if each.casefold() not in known)


def expand_jobs(choices: dict[str, list[str]], settings: Settings | None = None) -> list[list[str]]:
    """Return the overrides of each job.

    Args:
        choices: for each key, an override for each of its values.
        settings: settings that can pair the values (`zip`) and add the override sets of a job file (`file`); None:
            combine all values.

    Raises:
        ConfigError: the lists to pair differ in length, or the job file cannot be read.
    """
    if settings is not None and settings.zip:
        lengths = {key: len(each) for key, each in choices.items() if len(each) > 1}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise ConfigError(f"sweep.zip: pairs the lists value by value, but {found}")
        longest = max(lengths.values(), default=1)
        lists = [each if len(each) > 1 else each * longest for each in choices.values()]
        jobs = [list(row) for row in zip(*lists, strict=True)]
    else:
        jobs = [list(row) for row in itertools.product(*choices.values())]
    if settings is not None and settings.file is not None:
        jobs = [[*job, *own] for own in read_job_file(Path(settings.file)) for job in jobs]
    return jobs


def read_job_file(path: Path) -> list[list[str]]:
    """Return the override sets in `sweep.file`, a YAML list of mappings {optim.lr: 0.1} or lists [optim.lr=0.1].

    Raises:
        ConfigError: the file cannot be read, or contains something else.
    """
    try:
        sets = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"sweep.file: {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"sweep.file: {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(sets, list) or not sets:
        raise ConfigError(f"sweep.file: {path}: expected a list of override sets, such as: - {{optim.lr: 0.1}}")
    jobs = []
    for number, each in enumerate(sets, start=1):
        if isinstance(each, dict):
            jobs.append([f"{key}={_as_override(value)}" for key, value in each.items()])
        elif isinstance(each, list) and all(isinstance(text, str) and "=" in text for text in each):
            jobs.append(each)
        else:
            raise ConfigError(
                f"sweep.file: {path}: job {number}: found {each!r}; allowed: {{optim.lr: 0.1}} or [optim.lr=0.1]"
            )
    return jobs


def _as_override(value: Any) -> str:
    """Return a value from YAML in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_as_override(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_override, value)) + "]"
    if isinstance(value, str) and not (NUMBER_OR_NAME.fullmatch(value) and isinstance(yaml.safe_load(value), str)):
        # In Hydra's quoted strings, a backslash is literal unless it precedes a quote: double those that do.
        return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value) + "'"
    return str(value)


def with_threads(config: Config, threads: int) -> Config:
    """Return the config with the job's share of threads as `device.threads`, unless that is set already.

    A resume then uses the same number.
    """
    if config.device.threads is not None:
        return config
    return config.model_copy(update={"device": config.device.model_copy(update={"threads": threads})})
