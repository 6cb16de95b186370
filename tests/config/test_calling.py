import pytest
from omegaconf import OmegaConf

from runner.config.arguments import split
from runner.config.calling import with_seed
from runner.config.composition import SAMPLER, unknown_directions

UNSEEDED = OmegaConf.create({"hydra": {"sweeper": {"sampler": {"seed": None}}}})


def test_search_without_seed_gets_one() -> None:
    asked = split(["-m", "optim.lr=interval(0,1)"])
    first, second = (with_seed(asked, UNSEEDED).overrides for _ in range(2))
    assert first[:-1] == asked.overrides
    assert first[-1].startswith("hydra.sweeper.sampler.seed=")
    assert first != second


@pytest.mark.parametrize(
    "sweeper", [{"sampler": {"seed": 0}}, {"sampler": {"_partial_": True}}, {"sampler": None}, {"params": None}]
)
def test_sampler_that_has_a_seed_or_takes_none_is_left_alone(sweeper: dict[str, object]) -> None:
    asked = split(["-m", "optim.lr=1"])
    assert with_seed(asked, OmegaConf.create({"hydra": {"sweeper": sweeper}})) is asked


def test_single_run_gets_no_seed_of_a_sampler() -> None:
    asked = split(["optim.lr=1"])
    assert with_seed(asked, UNSEEDED) is asked


def test_only_classes_of_optuna_itself_are_samplers() -> None:
    assert SAMPLER.fullmatch("optuna.samplers.TPESampler")
    assert not SAMPLER.fullmatch("optuna.samplers._cmaes.pickle.loads")


@pytest.mark.parametrize(
    ("direction", "found"), [("min", ["'min'"]), (["minimize", "max"], ["'max'"]), (["maximize"], []), (None, [])]
)
def test_unknown_direction_of_a_search_is_reported(direction: object, found: list[str]) -> None:
    cfg = OmegaConf.create({"hydra": {"sweeper": {"direction": direction}}})
    lines = [f"hydra.sweeper.direction: found {each}; allowed: minimize, maximize" for each in found]
    assert list(unknown_directions(cfg)) == lines
