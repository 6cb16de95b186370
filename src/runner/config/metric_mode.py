"""Whether less or more of a metric is better."""

import re
from collections.abc import Iterable
from typing import Literal

Mode = Literal["min", "max"]
# Parts of the names of metrics of which less is better.
LESS_IS_BETTER = (
    *("loss", "error", "mae", "mse", "rmse", "mape", "perplexity", "distance", "divergence", "nll", "brier"),
    *("kld", "hamming", "entropy", "deviance", "ranked_probability", "rankedprobability"),
)
SHORT_LESS_IS_BETTER = {"wer", "cer", "fid", "crps"}  # whole words: "fid" is also a part of "confidence"


def usual_mode(metric: str) -> Mode:
    """Return the mode of a metric, such as min for val/loss: max unless its name says that less is better."""
    name = metric.rpartition("/")[2].lower()
    is_less = any(part in name for part in LESS_IS_BETTER) or SHORT_LESS_IS_BETTER & set(re.split("[^a-z]+", name))
    return "min" if is_less else "max"


def reset_modes(overrides: Iterable[str]) -> list[str]:
    """Return overrides that give each overridden metric its usual mode, which may not be that of the old metric."""
    keys = [text.partition("=")[0] for text in overrides]
    sections = ("trainer.checkpoint", "trainer.early_stopping")
    return [f"{section}.mode=null" for section in sections if f"{section}.metric" in keys]
