"""Tasks. A task says what a batch means: how the model is called, what the loss compares, and what is measured."""

from runner.task.base import Task
from runner.task.classification import Classification
from runner.task.language_modeling import LanguageModeling
from runner.task.multilabel import Multilabel
from runner.task.reconstruction import Reconstruction
from runner.task.regression import Regression
from runner.task.segmentation import Segmentation

__all__ = [
    "Classification",
    "LanguageModeling",
    "Multilabel",
    "Reconstruction",
    "Regression",
    "Segmentation",
    "Task",
]
