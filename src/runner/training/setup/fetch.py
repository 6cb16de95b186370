"""Download what a run needs before it starts."""

import torch

from runner.config.schema import Config
from runner.training.setup.build import build_model
from runner.training.setup.build_data import build_dataset, fetch_data
from runner.training.setup.initial import check_initial
from runner.training.setup.weights import fetch_weights


def fetch(config: Config) -> None:
    """Download the files of the dataset, and the weights to start from, if they are missing.

    Raises:
        DataError: a download failed; the message names the files and their folder.
        ConfigError: the downloaded weights do not fit the model.
    """
    fetch_data(config)
    if fetch_weights(config):  # only now are the names and shapes of the weights known
        with torch.device("meta"):
            check_initial(config, build_model(config, build_dataset(config).spec))
