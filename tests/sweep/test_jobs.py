from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from runner.config.compose import compose_config
from runner.config.schema import Sweep as Settings
from runner.errors import ConfigError
from runner.sweep.jobs import Job, Sweep, expand_jobs, folder_name, read_job_file, swept_in


def how(**values: object) -> Settings:
    return compose_config([f"sweep.{key}={value}" for key, value in values.items()]).sweep


def test_lists_are_combined_with_the_last_one_varying_fastest() -> None:
    choices = {"seed": ["seed=0", "seed=1"], "optim": ["optim=adam"], "optim.lr": ["optim.lr=1", "optim.lr=2"]}
    assert expand_jobs(choices, how()) == [
        ["seed=0", "optim=adam", "optim.lr=1"],
        ["seed=0", "optim=adam", "optim.lr=2"],
        ["seed=1", "optim=adam", "optim.lr=1"],
        ["seed=1", "optim=adam", "optim.lr=2"],
    ]


def test_zipped_lists_are_paired() -> None:
    choices = {"seed": ["seed=0", "seed=1"], "optim": ["optim=adam"], "optim.lr": ["optim.lr=1", "optim.lr=2"]}
    assert expand_jobs(choices, how(zip=True)) == [
        ["seed=0", "optim=adam", "optim.lr=1"],
        ["seed=1", "optim=adam", "optim.lr=2"],
    ]


def test_zipped_lists_of_different_lengths_are_rejected() -> None:
    choices = {"seed": ["seed=0", "seed=1"], "optim.lr": ["optim.lr=1", "optim.lr=2", "optim.lr=3"]}
    with pytest.raises(ConfigError, match=r"sweep.zip: .* seed has 2, optim.lr has 3"):
        expand_jobs(choices, how(zip=True))


def test_each_entry_of_a_job_file_is_a_job(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(
        "- {optim.lr: 1e-3, model.hidden: [8, 8], name: 'a b', dry_run: false, dataset.val_share: null}\n"
        "- [optim=adam, optim.lr=0.1]\n"
    )
    own = [
        ["optim.lr=1e-3", "model.hidden=[8,8]", "name='a b'", "dry_run=false", "dataset.val_share=null"],
        ["optim=adam", "optim.lr=0.1"],
    ]
    assert read_job_file(path) == own
    assert expand_jobs({"seed": ["seed=0", "seed=1"]}, how(file=path)) == [
        [seed, *each] for each in own for seed in ("seed=0", "seed=1")
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{optim.lr: 1}", "expected a list of override sets"),
        ("[]", "expected a list of override sets"),
        ("- 3", r"job 1: found 3; allowed: \{optim.lr: 0.1\}"),
        ("- {seed: 1}\n- [seed]", "job 2: found"),
        ("- [seed=1", "is not valid YAML"),
    ],
)
def test_invalid_job_file_is_rejected(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read_job_file(tmp_path / "jobs.yaml")


@pytest.mark.parametrize(
    "value",
    [
        "a\\b",
        "*\\.bias",
        "a\\\\",
        "it's",
        "a\\'b",
        "'",
        "",
        " a ",
        "1",
        "true",
        "null",
        "1.5",
        "[1]",
        "{a: 1}",
        "a,b",
        "ü$x`",
    ],
)
def test_string_in_a_job_file_is_kept_exactly(tmp_path: Path, value: str) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(yaml.safe_dump([{"name": value}]))
    ((override,),) = read_job_file(path)
    assert OverridesParser.create().parse_override(override).value() == value


def test_number_that_yaml_reads_as_a_string_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- {optim.lr: 1e-3}")
    ((override,),) = read_job_file(tmp_path / "jobs.yaml")
    assert OverridesParser.create().parse_override(override).value() == 0.001


def test_missing_job_file_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sweep.file: .*jobs.yaml cannot be read: No such file"):
        read_job_file(tmp_path / "jobs.yaml")


def test_folder_is_named_by_the_overrides_of_its_job() -> None:
    assert folder_name(["optim.lr=0.1", "seed=3"], []) == "optim.lr=0.1,seed=3"


@pytest.mark.parametrize("text", ["name=../../evil", "name=a/b", "x='\n'", "name=" + "é" * 200])
def test_folder_name_is_a_safe_path_segment(text: str) -> None:
    name = folder_name([text], [])
    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name.encode()) <= 120


def test_long_names_that_differ_only_at_the_end_stay_different() -> None:
    names = [folder_name([f"model.layers={'x' * 200}{end}"], []) for end in "ab"]
    assert names[0] != names[1]
    assert all(len(name) <= 120 for name in names)


def test_equal_names_are_numbered() -> None:
    taken: list[str] = []
    for _ in range(3):
        taken.append(folder_name(["model.hidden=[1]"], taken))
    assert taken == ["model.hidden=_1", "model.hidden=_1-2", "model.hidden=_1-3"]


def test_names_that_differ_only_in_case_are_numbered() -> None:
    assert folder_name(["model.activation=ReLU"], ["model.activation=relu"]) == "model.activation=ReLU-2"


def make(folder: Path) -> Sweep:
    config = compose_config(["optim.lr=0.1", "device.threads=1"])
    return Sweep(folder, [Job("optim.lr=0.1", ["optim.lr=0.1", "name='a b'"], [], {"optim.lr": 0.1}, config)])


def test_frozen_sweep_round_trip(tmp_path: Path) -> None:
    sweep = make(tmp_path)
    sweep.save()
    assert Sweep.open(tmp_path) == sweep
    assert sweep.swept == ["optim.lr"]
    assert swept_in(tmp_path / "optim.lr=0.1") == {"optim.lr": 0.1}
    assert swept_in(tmp_path / "another") == {}


@pytest.mark.parametrize("text", ["", "jobs: 3", "jobs: []", "jobs: [{folder: a}]", "jobs: [", "\udcff"])
def test_damaged_sweep_file_is_reported_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"sweep.yaml: damaged"):
        Sweep.open(tmp_path)


def test_single_run_has_no_swept_keys(tmp_path: Path) -> None:
    assert swept_in(tmp_path / "run") == {}


def test_command_that_repeats_a_job_keeps_its_threads_and_drops_sweep_keys(tmp_path: Path) -> None:
    job = make(tmp_path).jobs[0]
    assert job.command(job.overrides) == "python -m runner optim.lr=0.1 'name='\"'\"'a b'\"'\"'' device.threads=1"
    swept = Job("x", [], ["--config-dir", "/mine"], {}, job.config)
    overrides = ["sweep.jobs=2", "device.threads=1", "seed=1", "dry_run=false", "seed=2"]
    assert swept.command(overrides) == "python -m runner --config-dir /mine device.threads=1 seed=2"


@pytest.mark.parametrize("folder", ["../../evil", "/tmp/evil", "", ".", "..", "a/b", 3, None])
def test_job_folder_cannot_leave_the_sweep_folder(tmp_path: Path, folder: object) -> None:
    make(tmp_path).save()
    text = (tmp_path / "sweep.yaml").read_text()
    (tmp_path / "sweep.yaml").write_text(
        text.replace("folder: optim.lr=0.1", f"folder: {folder!r}".replace("None", "null"))
    )
    with pytest.raises(ConfigError, match="damaged"):
        Sweep.open(tmp_path)


def test_string_that_looks_like_another_value_stays_a_string(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- {name: 'true', seed: 1e-3}\n")
    assert read_job_file(tmp_path / "jobs.yaml") == [["name='true'", "seed=1e-3"]]
