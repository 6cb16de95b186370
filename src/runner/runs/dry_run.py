"""Show a run without starting it (`dry_run=true`)."""

import torch

from runner.config.frozen import freeze
from runner.config.schema import Config
from runner.tracking.events import event, events
from runner.tracking.summary import summarize
from runner.training.checks.try_shapes import inputs_that_fit
from runner.training.setup.build import build_model, build_task
from runner.training.setup.build_data import build_dataset


def show(config: Config) -> int:
    """Print the resolved config and the model, and create nothing; return the exit code."""
    dataset = build_dataset(config)
    task = build_task(config, dataset.spec)
    with torch.device("meta"):
        model = build_model(config, dataset.spec)
        inputs = inputs_that_fit(dataset, task, model)
    print(freeze(config))
    print(summarize(model, lambda: task.forward(model, inputs)))
    print("dry run: nothing was created")
    events.write(event("dry run", config=config.model_dump()))
    return 0
