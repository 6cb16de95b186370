"""What can go wrong in a way that the user can mend, as exceptions that carry an exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class RunnerError(Exception):
    """A fault that one message explains; the program shows the message, not a traceback."""

    exit_code = 1


class ConfigError(RunnerError):
    """The config, or the command line, does not describe something that can run; nothing was created.

    Args:
        problems: one line for each thing to mend; all of them are shown together.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(RunnerError):
    """A data file is missing or damaged; the message names it."""


class CheckpointError(RunnerError):
    """A checkpoint is damaged, hostile, or does not fit the run; the message names the file."""


class Diverged(RunnerError):
    """The loss or the gradient is no longer a finite number."""

    exit_code = 3


class SweepStopped(Exception):
    """No more jobs of a sweep start, and the user has been informed: a signal, a failed job, or a dry run.

    Args:
        exit_code: of the program.
    """

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"exit code {exit_code}")


# What people coming from elsewhere write, and its name here.
ELSEWHERE = {"learning_rate": "lr", "gpu": "cuda", "optimizer": "optim", "float16": "fp16", "bfloat16": "bf16"}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint at the end of a message: the allowed names, and which one was probably meant."""
    allowed = sorted(allowed)
    by_words = {_words(each): each for each in allowed}
    if ELSEWHERE.get(name.lower()) in allowed:
        meant = ELSEWHERE[name.lower()]
    elif _words(name) in by_words:  # other letters' case, other order of words
        meant = by_words[_words(name)]
    else:
        meant = next(iter(get_close_matches(name.lower(), allowed, n=1, cutoff=0.5)), "")
    return f"allowed: {', '.join(allowed) or 'none'}.{f' Did you mean {meant}?' if meant else ''}"


def _words(name: str) -> str:
    return "".join(sorted(name.lower().replace("-", "_").split("_")))


def advice(key: str, found: object, kinds: Iterable[str]) -> str:
    """Return what to write for a value of the wrong type, after pydantic's reason; nothing where that says it.

    Args:
        kinds: pydantic's names for what is wrong, such as list_type.
    """
    kinds = set(kinds)
    if kinds & {"list_type", "tuple_type"} and isinstance(found, str | int | float):
        return f": a list is written in brackets: {key}=[{found}]"
    if isinstance(found, str) and kinds & {"int_type", "float_type", "bool_type"} and _is_plain(found):
        return (
            f": it is a text here; write it without quotes, or where it is ${{oc.env:NAME}} "
            f"from the environment: '{key}=\"${{oc.decode:${{oc.env:NAME}}}}\"'"
        )
    return ""


def _is_plain(text: str) -> bool:
    """Return whether a text would be a number, true or false without its quotes."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True
