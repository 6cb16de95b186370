"""Verdicts as LaTeX tables for a paper: a row for each group, the best in bold, and those not told apart marked."""

import re
from collections.abc import Sequence

from runner.runs.tables import one_line, show
from runner.runs.verdict.groups import Group, Verdict
from runner.runs.verdict.sentences import compared, decimals, notes, p_value

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}
MARK = r"$^{\dagger}$"
NOTE = r"$^{\dagger}$ cannot be told apart from the best"


def as_latex(found: Sequence[Verdict]) -> str:
    """Return a table for each dataset. They need the package booktabs."""
    tables = [table(verdict) for verdict in compared(found) or found]
    return "\n".join([r"% \usepackage{booktabs}", *tables])


def table(verdict: Verdict) -> str:
    """Return the table of a verdict."""
    keys = list(dict.fromkeys(key for group in verdict.groups for key in group.values))
    tested = any(group.p is not None for group in verdict.groups)
    header = [*(escape(key) for key in keys), "$n$", escape(verdict.metric), *(["behind by", "$p$"] if tested else [])]
    lines = [f"% {note}" for note in notes(verdict)]
    lines += [rf"\begin{{tabular}}{{{'l' * len(keys)}r{'r' * (len(header) - len(keys) - 1)}}}", r"\toprule"]
    lines += [row(header), r"\midrule"]
    for group in verdict.groups:
        values = [escape("null" if group.values.get(key) is None else show(group.values[key])) for key in keys]
        lines.append(row([*values, str(group.n), amount(group), *(behind(group) if tested else [])]))
    lines += [r"\bottomrule"]
    if any(group.verdict == "indistinguishable" for group in verdict.groups):
        lines.append(rf"\multicolumn{{{len(header)}}}{{l}}{{{NOTE}}} \\")
    return "\n".join([*lines, r"\end{tabular}", ""])


def row(cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return " & ".join(cells) + r" \\"


def amount(group: Group) -> str:
    """Return the mean of a group with its standard error: bold for the best, marked if it is not told apart from it."""
    if group.mean is None:
        return "diverged" if group.verdict == "diverged" else "--"
    numbers = [show(group.mean)]
    if group.stderr is not None:
        numbers = decimals(group.stderr, group.mean, group.stderr)
    text = r" \pm ".join(numbers)
    if group.verdict == "best":
        return rf"$\mathbf{{{text}}}$"
    return f"${text}$" + (MARK if group.verdict == "indistinguishable" else "")


def behind(group: Group) -> list[str]:
    """Return the cells of the difference and its p-value."""
    if group.difference is None or group.p is None:
        return ["", ""]
    if group.difference_interval is None:
        return [f"${show(group.difference)}$", ""]
    precision = group.difference_interval[1] - group.difference
    p = p_value(group).removeprefix("p").removeprefix("=")
    return [f"${decimals(precision, group.difference)[0]}$", f"${p}$"]


def escape(text: str) -> str:
    """Return text on one line in which LaTeX finds no command."""
    return re.sub(r"[\\~^&%$#_{}]", lambda match: SPECIAL[match[0]], one_line(text))
