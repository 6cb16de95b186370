"""What is kept of a search in sweep.yaml, so that a resume can repeat and continue it.

A resume starts the search again with the same seed, and reports the same results to the sampler. The sampler proposes
the trials that have begun once more, which are not trained again, and is then in the state of a search that never
stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.config.arguments import Typed, check_arguments
from runner.config.schema import Config, flatten
from runner.errors import ConfigError

TRIALS = "hydra.sweeper.n_trials"
NOT_COMPARED = ("device.threads", "sweep.jobs")  # keys of a job that are set when it is frozen, or resumed


@dataclass
class Search:
    """A search.

    Args:
        overrides: overrides as typed, with the seed of the sampler.
        config_dir: value of --config-dir; None if it was not given.
        config_name: name of the primary config.
        settings: config of the sweeper (`hydra.sweeper`).
        told: the values that the sampler was told, one for each trial whose batch has ended.
    """

    overrides: list[str]
    config_dir: str | None
    config_name: str
    settings: dict[str, Any]
    told: list[float] = field(default_factory=list)

    @property
    def trials(self) -> int:
        """The number of trials."""
        return int(self.settings["n_trials"])

    @property
    def obstacle(self) -> str | None:
        """Why a resume cannot repeat the search; None if it can."""
        sampler = self.settings.get("sampler") or {}
        if sampler.get("seed") is None:
            name = str(sampler.get("_target_")).rpartition(".")[2]
            return f"the sampler {name} has no seed, so that its proposals cannot be repeated"
        if self.settings.get("storage") is not None:
            return "to continue with hydra.sweeper.storage, start a new sweep with the same storage and study_name"
        return None

    def extend(self, trials: int, begun: int) -> None:
        """Change the number of trials.

        Raises:
            ConfigError: more trials have begun.
        """
        if trials < begun:
            raise ConfigError(f"{TRIALS}: found {trials}, but {begun} trials have begun; allowed: {begun} or more")
        kept = [text for text in self.overrides if text.lstrip("+").partition("=")[0] != TRIALS]
        self.overrides = [*kept, f"{TRIALS}={trials}"]
        self.settings = self.settings | {"n_trials": trials}

    def arguments(self, folder: Path) -> Typed:
        """Return the arguments of the command line that repeat the search.

        The folder may come from somebody else: its sweep.yaml may name config files of this machine, but it cannot
        bring its own, and it can set nothing of Hydra but the sweeper.

        Args:
            folder: the sweep folder.

        Raises:
            ConfigError: sweep.yaml contains an argument that is not allowed.
        """
        for text in self.overrides:
            key = text.lstrip("+~").partition("=")[0].replace("/", ".")
            if text.startswith("-") or (f"{key}.".startswith("hydra.") and not f"{key}.".startswith("hydra.sweeper.")):
                raise ConfigError(f"{text}: refused: a search is resumed with the launcher of this machine")
        check_arguments(self.overrides)
        own = self.config_dir
        if own is not None and Path(own).resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"--config-dir: found {own}; config files in a sweep folder are not used: move them")
        flags = ["-m"] if self.config_name == "config" else ["-m", f"--config-name={self.config_name}"]
        return Typed(flags, list(self.overrides), own, self.config_name)


def check_same_search(search: Search, settings: Mapping[str, Any], frozen: Config, found: Config) -> None:
    """Check that the config files still give the same search and the same first job.

    Args:
        search: the search in sweep.yaml.
        settings: the config of the sweeper according to the config files.
        frozen: config of the first job.
        found: config of the first job according to the config files.

    Raises:
        ConfigError: with one line for each difference.
    """
    pairs = [
        (flatten({"hydra": {"sweeper": search.settings}}), flatten({"hydra": {"sweeper": settings}})),
        (flatten(frozen.model_dump()), flatten(found.model_dump())),
    ]
    problems = [
        f"{key}: found {new.get(key)!r}, but the search began with {old.get(key)!r}"
        for old, new in pairs
        for key in [*old, *(new.keys() - old.keys())]
        if key not in NOT_COMPARED and old.get(key) != new.get(key)
    ]
    if problems:
        hint = "the config files have changed: undo this to continue"
        raise ConfigError(*problems, hint)


def check_same_trial(number: int, frozen: Sequence[str], proposed: Sequence[str], begun: int) -> None:
    """Check that the sampler has proposed the same trial as before.

    Args:
        number: number of the trial, from 1.
        frozen: overrides of the trial in sweep.yaml.
        proposed: overrides that the sampler has proposed now.
        begun: number of trials that have begun.

    Raises:
        ConfigError: they differ.
    """
    old, new = ([text for text in texts if not text.startswith("sweep.")] for texts in (frozen, proposed))
    if old != new:
        changes = ", ".join(
            f"{text} instead of {before}" for before, text in zip(old, new, strict=False) if before != text
        )
        raise ConfigError(
            f"trial {number}: the sampler now proposes {changes or new}: it is another version of optuna, or another "
            f"machine. To finish the trials that have begun: {TRIALS}={begun}"
        )
