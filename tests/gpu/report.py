"""The report: its sections as data, as Markdown, and as JSON."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu.section import Row

ONLY_JSON = ("trace",)  # columns that are not in the Markdown tables


@dataclass
class Part:
    """A section of the report, when it is done.

    Args:
        name: short name, such as sync.
        title: what it shows.
        seconds: how long it took.
        rows: table.
        error: first line of the error that ended it; None: none did.
    """

    name: str
    title: str
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    error: str | None = None

    def count(self, kind: str) -> int:
        """Return the number of rows whose result begins with a word."""
        return sum(str(row.get("result", "")).startswith(kind) for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether something was done, and nothing failed."""
        return self.error is None and not self.count("failed") and self.count("ok") > 0

    @property
    def verdict(self) -> str:
        """The outcome, in words."""
        counts = {kind: self.count(kind) for kind in ("ok", "failed", "skipped", "left out")}
        words = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
        if self.error is not None:
            return f"FAILED, ended by {self.error}" + (f" ({words} before)" if words else "")
        if not self.rows:
            return "FAILED (nothing was done)"
        if counts["skipped"] == len(self.rows):
            return f"SKIPPED ({words})"
        return f"{'passed' if self.passed else 'FAILED'} ({words})"


@dataclass
class Report:
    """The whole report.

    Args:
        machine: where it was made, by name.
        parts: its sections.
        rehearses: whether it was made on a CPU, in small.
    """

    machine: dict[str, str]
    parts: list[Part] = field(default_factory=list)
    rehearses: bool = False

    @property
    def passed(self) -> bool:
        """Whether all sections passed."""
        return bool(self.parts) and all(part.passed for part in self.parts)

    def write(self, folder: Path) -> None:
        """Write report.md and report.json."""
        folder.mkdir(parents=True, exist_ok=True)
        contents = asdict(self) | {"passed": self.passed, "verdicts": {part.name: part.verdict for part in self.parts}}
        for name, text in (("report.json", json.dumps(contents, indent=2)), ("report.md", self.markdown())):
            (folder / f".{name}").write_text(text)
            (folder / f".{name}").replace(folder / name)  # complete at any moment

    def markdown(self) -> str:
        """Return the report as Markdown."""
        title = "A rehearsal on the CPU: no figure means anything" if self.rehearses else "Report of `make gpu`"
        summary: list[Row] = [
            {"section": f"{part.name}: {part.title}", "seconds": round(part.seconds), "result": part.verdict}
            for part in self.parts
        ]
        blocks = [f"# {title}", table([{"machine": key, "": value} for key, value in self.machine.items()])]
        blocks += ["## Summary", f"**{'All passed' if self.passed else 'Not all passed'}.**", table(summary)]
        for part in self.parts:
            blocks += [f"## {part.name}: {part.title}", table(part.rows)]
        return "\n\n".join(filter(None, blocks)) + "\n"


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table with all their columns."""
    columns = [column for column in dict.fromkeys(key for row in rows for key in row) if column not in ONLY_JSON]
    columns.sort(key="result".__eq__)  # it comes last
    lines = [columns, ["---"] * len(columns)] + [[cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def cell(value: Any) -> str:
    """Return a value as text for a table: numbers with three significant digits, or as integers from 100 on."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
