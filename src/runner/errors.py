"""Exceptions with complete messages for the user, and hints for these messages."""

from collections.abc import Iterable
from difflib import get_close_matches


class RunnerError(Exception):
    """An error that is shown to the user as a message, without a traceback."""

    exit_code = 1


class ConfigError(RunnerError):
    """The config or the command line is invalid; nothing was created.

    Args:
        problems: one line per problem.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(RunnerError):
    """A data file is missing or damaged; the message names it."""


def from_worker(error: DataError) -> DataError:
    """Return an error with its own message if a DataLoader worker raised it, whose text is then a traceback."""
    last = str(error).rstrip().rpartition("\n")[2]
    return DataError(last.removeprefix(f"{DataError.__module__}.{DataError.__name__}: "))


class CheckpointError(RunnerError):
    """A checkpoint is damaged, unsafe, or from another run; the message names the file."""


class Diverged(RunnerError):
    """The loss, a gradient or a weight is not finite."""

    exit_code = 3


class SweepStopped(Exception):
    """A sweep starts no more jobs, because of a signal, a failed job or a dry run. The reason has already been printed.

    Args:
        exit_code: exit code of the program.
    """

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"exit code {exit_code}")


def install(extra: str) -> str:
    """Return how to install an extra, to end a message with; the `runner` on PyPI is another project."""
    return f"run pip install -e '.[{extra}]' in the clone of runner"


# Names in other libraries -> names here.
ELSEWHERE = {"learning_rate": "lr", "gpu": "cuda", "optimizer": "optim", "float16": "fp16", "bfloat16": "bf16"}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint to end a message with: the allowed names, and the one that was probably meant."""
    allowed = sorted(allowed)
    by_words = {_words(each): each for each in allowed}
    if ELSEWHERE.get(name.lower()) in allowed:
        meant = ELSEWHERE[name.lower()]
    elif _words(name) in by_words:  # the name differs only in case or in the order of its words
        meant = by_words[_words(name)]
    else:
        meant = next(iter(get_close_matches(name.lower(), allowed, n=1, cutoff=0.5)), "")
    return f"allowed: {', '.join(allowed) or 'none'}.{f' Did you mean {meant}?' if meant else ''}"


def _words(name: str) -> str:
    """Return the words of a name in lower case and sorted, so that neither case nor their order matters."""
    return "".join(sorted(name.lower().replace("-", "_").split("_")))


def advice(key: str, found: object, kinds: Iterable[str]) -> str:
    """Return how to write a value that has the wrong type, to end a message with; "" if pydantic's reason is enough.

    Args:
        key: key of the value.
        found: the value.
        kinds: pydantic's types of the errors, such as list_type.
    """
    kinds = set(kinds)
    if kinds & {"list_type", "tuple_type"} and isinstance(found, str | int | float):
        return f": a list is written in brackets: {key}=[{found}]"
    if isinstance(found, str) and kinds & {"int_type", "float_type", "bool_type"} and _is_plain(found):
        decoded = f"'{key}=\"${{oc.decode:${{oc.env:NAME}}}}\"'"
        return (
            f": it is a string here; write it without quotes, or for ${{oc.env:NAME}} from the environment: {decoded}"
        )
    return ""


def _is_plain(text: str) -> bool:
    """Return whether a string would be a number or a boolean without its quotes."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True
