"""The task of the dataset."""

from runner.registry import TASKS
from runner.task.base import Task


@TASKS.register("auto")
def auto(dataset_task: str) -> Task:
    """The task that the dataset is for, with its default values.

    Args:
        dataset_task: name of the task in the dataset's spec.
    """
    task: Task = TASKS.build(dataset_task, {})
    return task
