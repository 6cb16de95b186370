"""The settings of a metric to monitor."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, model_validator

from runner.config.metric_mode import Mode, usual_mode


class Monitored(BaseModel):
    """A metric and its mode. The mode null stands for the usual one of the metric, which replaces it."""

    metric: str
    mode: Mode

    @model_validator(mode="before")
    @classmethod
    def _usual_mode(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("mode", "") is None and isinstance(values.get("metric"), str):
            return {**values, "mode": usual_mode(values["metric"])}
        return values
