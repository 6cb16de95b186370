"""A comparison as one HTML file that needs no network: verdict, table, plots, differences, pictures and failures.

data      what the page shows, as JSON
datasets  the datasets of the runs, and the verdicts about them
details   the pictures of a run, and why it failed
follow    rewrites the page until all runs have ended
web/      the page itself: HTML, styles, scripts, and the plotting library ECharts

The plotting library is ECharts, because it draws on a canvas, needs no `eval`, and is small: with 1,000 curves of 100
points it is drawn after 1.0 s, Plotly 4.1 after 2.5 s (SVG) or 5.1 s (WebGL), with 1.1 MB against 4.8 MB in every page.
It is only published for JavaScript, so its released file is kept in web/vendor/ unchanged.
"""

import base64
import hashlib
import json
from pathlib import Path

from runner.runs.compare import Comparison
from runner.runs.page.data import contents

WEB = Path(__file__).with_name("web")
LIBRARY = WEB / "vendor" / "echarts.min.js"
# fmt: off
SCRIPTS = (  # in the order in which they use each other
    "core", "state", "filter", "table", "verdict", "groups", "chart", "curves", "curve_plot", "scatter", "importance",
    "parallel", "pareto", "ticked", "failed", "main",
)
# fmt: on


def page(comparison: Comparison, target: Path | None = None, follow: float | None = None) -> str:
    """Return the page as HTML, including its data, its scripts and the plotting library.

    Args:
        comparison: runs to show.
        target: file that the page will be written to, for relative links to pictures; None: unknown.
        follow: seconds after which the page reloads itself; None: never.
    """
    data = json.dumps(contents(comparison, target, follow), allow_nan=False, default=str, separators=(",", ":"))
    library = LIBRARY.read_text("utf-8")
    script = "\n".join((WEB / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    parts = {
        "policy": policy(library, script),
        "style": (WEB / "style.css").read_text("utf-8"),
        "library": library,
        "script": script,
        "data": data.replace("<", "\\u003c"),  # so that "</script>" or "<!--" in the data cannot end the element
    }
    text = (WEB / "page.html").read_text("utf-8")
    for name, part in parts.items():
        before, after = text.split("{{" + name + "}}")
        text = before + part + after
    return text


def policy(*scripts: str) -> str:
    """Return a Content-Security-Policy that allows these scripts only, and no connection to any server."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: file:"
