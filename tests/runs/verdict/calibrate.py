"""Simulate how often a verdict is wrong, and how often it finds a difference.

    python tests/runs/verdict/calibrate.py --tables 2000

prints the tables of docs/verdicts.md. Scores have a standard deviation of 1 unless stated otherwise; `rho` is the
correlation of two groups through their common seeds.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runner.runs.verdict.procedure import Paired, compare_with_best

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Values]
ALPHA = 0.05
SEEDS, GROUPS, RHOS, GAPS = (2, 3, 5, 10), (2, 3, 5, 8), (0.0, 0.5, 0.9), (0.5, 1.0, 2.0, 3.0)


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return random.normal(size=shape)


def exponential(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return random.exponential(size=shape) - 1


def heavy(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Return values of Student's t with 3 degrees of freedom, scaled to a standard deviation of 1."""
    return random.standard_t(3, size=shape) / math.sqrt(3)


def outliers(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Return normal values, of which one in ten is five times as large."""
    return random.normal(size=shape) * np.where(random.random(shape) < 0.1, 5, 1) / math.sqrt(0.9 + 0.1 * 25)


NOISES: dict[str, Noise] = {"normal": normal, "exponential": exponential, "t3": heavy, "outliers": outliers}


@dataclass(frozen=True)
class Case:
    """A kind of experiment.

    Args:
        means: true mean of each group.
        seeds: number of seeds.
        deviations: standard deviation of each group; None: 1.
        rho: correlation of two groups through their common seeds.
        noise: distribution of the scores.
        items: accuracies near 1 on this many samples instead of continuous scores.
    """

    means: Sequence[float]
    seeds: int
    deviations: Sequence[float] | None = None
    rho: float = 0.0
    noise: Noise = field(default=normal)
    items: int | None = None

    def draw(self, random: np.random.Generator) -> Values:
        """Return the scores of one experiment, of shape (groups, seeds)."""
        shape = (len(self.means), self.seeds)
        if self.items is not None:
            return random.binomial(self.items, 0.99, size=shape) / self.items
        common, own = self.noise(random, (1, self.seeds)), self.noise(random, shape)
        scores = math.sqrt(self.rho) * common + math.sqrt(1 - self.rho) * own
        return np.array(self.means)[:, None] + np.array(self.deviations or [1.0] * len(self.means))[:, None] * scores


@dataclass(frozen=True)
class Rates:
    """Shares of experiments, in percent.

    Args:
        false: a group is called worse than the best although its true mean is the largest.
        found: share of the truly worse groups that are called worse.
    """

    false: float
    found: float


def rates(case: Case, tables: int, seed: int = 0) -> Rates:
    """Simulate experiments.

    Args:
        case: kind of experiment.
        tables: number of experiments.
        seed: seed of the simulation.
    """
    random, truth = np.random.default_rng(seed), np.array(case.means)
    top = truth == truth.max()
    false = found = 0
    for _ in range(tables):
        table = case.draw(random)
        if len(np.unique(table)) == 1:
            continue
        _, gaps = compare_with_best(Paired(table), ALPHA)
        worse = np.array([gap is not None and gap.is_worse for gap in gaps])
        false += bool((worse & top).any())
        found += int((worse & ~top).sum())
    return Rates(100 * false / tables, 100 * found / tables / max(int((~top).sum()), 1))


def row(name: str, cells: Sequence[str]) -> str:
    return "| " + " | ".join([name, *cells]) + " |"


def heading(title: str, names: Sequence[str]) -> list[str]:
    return ["", title, "", row("", names), row("---", ["---"] * len(names))]


def identical(tables: int) -> list[str]:
    """Return how often a difference is reported between groups with the same true mean.

    The correlation through common seeds changes nothing here: what the seeds add to all groups cancels.
    """
    lines = heading("Families with a false difference, identical groups, %", [f"{groups} groups" for groups in GROUPS])
    found = {
        (name, groups): [rates(Case([0.0] * groups, seeds, noise=noise), tables).false for seeds in SEEDS]
        for name, noise in NOISES.items()
        for groups in GROUPS
    }
    for name in NOISES:
        lines.append(row(name, [" / ".join(f"{each:.1f}" for each in found[name, groups]) for groups in GROUPS]))
    return lines


def harder(tables: int) -> list[str]:
    """Return the same for groups that differ in their noise, and for coarse metrics."""
    unequal = [0.2, 0.5, 1, 2, 5]
    cases: dict[str, Callable[[int], Case]] = {
        "deviations 3, 1, 1, 1, 1": lambda seeds: Case([0.0] * 5, seeds, [3, 1, 1, 1, 1]),
        "deviations 10 and seven times 1": lambda seeds: Case([0.0] * 8, seeds, [10, *[1] * 7]),
        "deviations 0.2, 0.5, 1, 2, 5": lambda seeds: Case([0.0] * 5, seeds, unequal),
        "the same, exponential, rho 0.5": lambda seeds: Case([0.0] * 5, seeds, unequal, 0.5, exponential),
        "accuracy near 1 on 100 samples": lambda seeds: Case([0.0] * 5, seeds, items=100),
        "three tied, two far behind with deviation 10": lambda seeds: Case(
            [0, 0, 0, -100, -100], seeds, [1, 1, 1, 10, 10]
        ),
    }
    lines = heading("Families with a false difference, equal means, %", [f"{seeds} seeds" for seeds in SEEDS])
    for name, case in cases.items():
        lines.append(row(name, [f"{rates(case(seeds), tables).false:.1f}" for seeds in SEEDS]))
    return lines


def power(tables: int) -> list[str]:
    """Return how often a group behind the best of five is found to be worse, by how far it is behind."""
    lines = heading("Power, 5 groups, one of them ahead of the others, %", [f"{gap:g} SD" for gap in GAPS])
    for seeds in SEEDS:
        for rho in RHOS:
            found = [rates(Case([gap, 0, 0, 0, 0], seeds, rho=rho), tables).found for gap in GAPS]
            lines.append(row(f"{seeds} seeds, rho {rho:g}", [f"{each:.0f}" for each in found]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000, help="simulated experiments for each figure")
    tables = parser.parse_args().tables
    for part in (identical, harder, power):
        print("\n".join(part(tables)), flush=True)


if __name__ == "__main__":
    main()
