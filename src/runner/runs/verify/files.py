"""Check without training that the files of a run agree with each other."""

from collections.abc import Iterator, Mapping
from typing import Any

from runner.config.schema import flatten
from runner.machine.seeds import derive, restore_rng_state, seed_everything
from runner.runs.verify.comparison import ComparingTracker, number, single
from runner.runs.verify.record import Record
from runner.runs.verify.values import ValueDifference, compare, raise_if_any
from runner.tracking.metrics_csv import FILE
from runner.tracking.recorded import same
from runner.tracking.results import DONE, plain
from runner.tracking.results import FILE as RESULTS
from runner.training.evaluate import evaluate
from runner.training.saving.resume import LOCATION, RESUMABLE


def check_files(record: Record) -> None:
    """Check config.yaml, metrics.csv and results.json against the checkpoints and TensorBoard.

    Raises:
        Mismatch: they differ.
    """
    raise_if_any(config_differences(record))
    raise_if_any(malformed_rows(record))
    raise_if_any(row_differences(record))
    raise_if_any(results_differences(record))


def config_differences(record: Record) -> Iterator[ValueDifference]:
    """Yield the keys in which config.yaml differs from the checkpoints, unless a resume may have changed them."""
    here = keys_of(record.config.model_dump(), LOCATION)
    for kept in record.kept:
        # A resume may have changed values after a checkpoint was saved: after the newest one only if `changed` lists
        # its step. The results.json of an earlier version has no such list.
        is_known = "changed" in record.results or not record.results.get("resumed")
        is_current = kept is record.kept[-1] and kept.step not in record.changes
        may_differ = LOCATION if is_current and is_known else RESUMABLE
        there = keys_of(kept.contents["config"], (*LOCATION, *may_differ))
        for key, value in there.items():
            if repr(here.get(key)) != repr(value):
                yield ValueDifference(0, "config.yaml", f"{key} (as in {kept.file})", value, here.get(key))
    seed = record.results.get("seed", record.config.seed)
    if seed != record.config.seed:
        yield ValueDifference(0, RESULTS, "seed", seed, record.config.seed)


def keys_of(config: Mapping[str, Any], ignored: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in flatten(config).items() if not key.startswith(ignored)}


def malformed_rows(record: Record) -> Iterator[ValueDifference]:
    """Yield the rows of metrics.csv that are not numbered, or out of order."""
    last = 0
    for epoch, row in enumerate(record.rows, 1):
        step = row.get("step") or ""
        if row.get("epoch") != str(epoch) or not step.isdigit() or int(step) <= last:
            wrong = f"epoch {row.get('epoch')}, step {step}"
            yield ValueDifference(0, FILE, f"row {epoch}", wrong, f"epoch {epoch} and a step after {last}")
            return
        last = int(step)


def row_differences(record: Record) -> Iterator[ValueDifference]:
    """Yield the cells of metrics.csv that differ from TensorBoard, or from a checkpoint of the same epoch."""
    ended = {kept.step: kept for kept in record.kept if kept.contents["next"] == "train"}
    for row in record.rows:
        step, cells = int(row["step"]), {key: number(text) for key, text in row.items() if text}
        for tag, value in record.scalars.get(step, {}).items():
            cell = cells.get(tag)
            if (
                tag in row
                and tag.startswith(("val/", "lr"))
                and not (isinstance(cell, float) and same(single(cell), value))
            ):
                yield from compare(step, FILE, f"{tag} (as in TensorBoard)", cell, value)
        if kept := ended.get(step):
            for name, value in kept.contents["train"].items():
                yield from compare(step, FILE, f"train/{name} (as in {kept.file})", cells.get(f"train/{name}"), value)


def results_differences(record: Record) -> Iterator[ValueDifference]:
    """Yield the results that differ from the newest checkpoint, and the metrics of the test split from TensorBoard."""
    results = record.results
    if not record.kept:
        return
    newest = record.kept[-1]
    state = plain({key: newest.contents[key] for key in ("step", "epoch", "train", "val")})
    is_same = (results.get("step"), results.get("epoch")) == (state["step"], state["epoch"])
    if is_same or not results or results.get("status") in DONE:  # no results: the file is missing or damaged
        for key, value in state.items():
            yield from compare(newest.step, RESULTS, f"{key} (as in {newest.file})", results.get(key), value)
        best = results.get("best") or {}
        for key in ("metric", "value", "epoch", "step") if best else ():
            yield from compare(newest.step, RESULTS, f"best.{key}", best.get(key), newest.contents["best"][key])
    for tag, value in record.scalars.get(int(results.get("step") or 0), {}).items():
        part, _, name = tag.partition("/")
        recorded = (results.get("test") or {}).get(name)
        if part == "test" and recorded is not None and not same(single(recorded), value):
            yield from compare(newest.step, RESULTS, f"{tag} (as in TensorBoard)", recorded, value)


def check_test(comparison: ComparingTracker) -> int:
    """Test the best checkpoint again; return the number of metrics.

    Raises:
        Mismatch: a metric differs from that in results.json.
    """
    record, parts = comparison.record, comparison.parts
    test = record.results.get("test") or {}
    later = any(step >= comparison.segment.end for step in record.changes)
    named = {name: kept for kept in record.kept for name in kept.names}
    best = named.get("best.pt", named.get("last.pt"))
    if not test or record.results.get("status") not in DONE or best is None or later:
        return 0
    parts.load_weights(best.contents)
    if parts.world.is_sharded:
        seed_everything(derive(parts.config.seed, "test"))
    else:  # the test follows the last step
        restore_rng_state(record.kept[-1].contents["shards"][0]["rng"], parts.device)
    found = plain(evaluate(parts, parts.test))
    raise_if_any(compare(record.results["step"], RESULTS, "test", test, found))
    return len(test)


def check_data(comparison: ComparingTracker) -> None:
    """Check that the data and its normalization are those of the newest checkpoint.

    Raises:
        Mismatch: they differ.
    """
    kept, parts = comparison.record.kept, comparison.parts
    if not kept:
        return
    saved = kept[-1].contents
    hashes: dict[str, tuple[str | None, str | None]] = {
        "fingerprint of the training data": (saved["data"], parts.fingerprint)
    }
    if saved["samples"] is not None:
        hashes["hash of all samples"] = saved["samples"], parts.samples_hash
    differing = {name: both for name, both in hashes.items() if both[0] not in (None, both[1])}
    raise_if_any(ValueDifference(0, kept[-1].file, name, *both) for name, both in differing.items())
    raise_if_any(compare(0, kept[-1].file, "spec", saved["spec"], parts.spec.state_dict()))
