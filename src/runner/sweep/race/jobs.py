"""The jobs of a race: each group with each seed. What cannot race is refused before anything is created."""

from collections.abc import Mapping, Sequence
from typing import Any

from runner.config.compose import Composer
from runner.config.schema import Config
from runner.config.schema import Sweep as Settings
from runner.errors import ConfigError
from runner.runs.tables import REPEATS
from runner.sweep.jobs import Job
from runner.sweep.race.race import groups_of
from runner.sweep.race.rule import looks

OVER_SEEDS = "sweep.race compares the groups over seeds: give it a single value, or set sweep.race.max_seeds=null"
ADVICE = {  # for several values of a key
    "seed": "sweep.race runs each group with sweep.race.max_seeds seeds itself: leave out seed, or give it a single "
    "value, which is then the first seed",
    "dataset.seed": OVER_SEEDS,
    "dataset.fold": OVER_SEEDS,
}


def with_seeds(groups: Sequence[Sequence[str]], composer: Composer) -> list[list[str]]:
    """Return the overrides of the jobs of a race, ordered by seed, so that the first look comes early.

    Args:
        groups: overrides of each group.
        composer: composes the configs.

    Raises:
        ConfigError: several seeds or folds are listed, or the first group is invalid.
    """
    problems = []
    for key in REPEATS:
        found = list(dict.fromkeys(last_value(overrides, key) for overrides in groups))
        if len(found) > 1:
            values = " and ".join("no value" if value is None else value for value in found[:2])
            problems.append(f"{key}: found {values}{' and more' if len(found) > 2 else ''}; {ADVICE[key]}")
    if problems:
        raise ConfigError(*problems)
    config = composer.compose(groups[0])
    seeds = range(config.seed, config.seed + (config.sweep.race.max_seeds or 1))
    return [[*overrides, f"seed={seed}"] for seed in seeds for overrides in groups]


def last_value(overrides: Sequence[str], key: str) -> str | None:
    """Return the value that counts for a key; None if it is not among the overrides."""
    return {text.partition("=")[0].lstrip("+"): text.partition("=")[2] for text in overrides}.get(key)


def unsupported_race(configs: Mapping[int, Config], hydra: Any) -> dict[int, Sequence[str]]:
    """Return the problems of a race with another sweeper or launcher, by number of the job.

    Args:
        configs: configs by number of the job.
        hydra: Hydra's own config.
    """
    chosen = hydra.runtime.choices
    sweeper, launcher = chosen.get("hydra/sweeper"), chosen.get("hydra/launcher")
    found = []
    if sweeper != "runner":
        found.append(f"hydra/sweeper={sweeper}; a race compares listed values, such as optim.lr=0.1,0.03")
    if launcher != "local":
        found.append(f"hydra/launcher={launcher}; a race starts jobs by the results of others, on this machine")
    return {
        number: [f"sweep.race.max_seeds: found {config.sweep.race.max_seeds} with {each}" for each in found]
        for number, config in configs.items()
        if found and config.sweep.race.max_seeds is not None
    }


def check_race(jobs: Sequence[Job]) -> None:
    """Refuse jobs that cannot race: a single group, the same group twice, or different metrics.

    Raises:
        ConfigError: the jobs cannot race.
    """
    groups, most = groups_of(jobs), jobs[0].config.sweep.race.max_seeds
    if len(groups) == 1 and len(groups[0].jobs) == most:
        raise ConfigError(
            f"sweep.race.max_seeds: found {most}, but there is a single group; "
            "list values to compare, such as optim.lr=0.1,0.03"
        )
    if twice := [group.title for group in groups if len(group.jobs) != most]:
        raise ConfigError(f"sweep.race: found a group more than once: {', '.join(twice)}; list each value once")
    metrics = {f"{keep.metric} ({keep.mode})": None for keep in (job.config.trainer.checkpoint for job in jobs)}
    if len(metrics) > 1:
        raise ConfigError(
            f"trainer.checkpoint: found {' and '.join(metrics)}; a race compares all groups by one metric"
        )


def largest_round(jobs: int, settings: Settings) -> int:
    """Return the largest number of jobs that wait at the same time.

    Args:
        jobs: number of jobs of the sweep.
        settings: settings of the sweep.
    """
    most = settings.race.max_seeds
    if most is None:
        return jobs
    groups = jobs // most
    return groups * looks(groups, most)[0]
