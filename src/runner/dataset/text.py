"""The characters or bytes of a text."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from runner.dataset.base import Pool, Samples, Spec
from runner.errors import DataError
from runner.registry import DATASETS

HELD_OUT = 0.1  # share of the text to test on, and share to validate on


@DATASETS.register("text")
class Text:
    """Windows of a text, with the next character or byte at each position as targets.

    The text is split by position: the last tenth is the test set, the tenth before it the validation set. So no
    window of one overlaps with a window of another.

    Args:
        path: text file in UTF-8. None: the documentation topics of Python's `help()`.
        context: number of tokens in a window, T.
        stride: distance between the starts of two windows, in tokens. None: `context`, so that they do not overlap.
        level: what a token is. The vocabulary consists of the different characters of the text, or of all bytes.

    Raises:
        ValueError: `context` or `stride` is below 1.
    """

    def __init__(
        self,
        path: str | None = None,
        context: int = 64,
        stride: int | None = None,
        level: Literal["character", "byte"] = "character",
    ) -> None:
        if context < 1:
            raise ValueError(f"context must be at least 1, found {context}")
        if stride is not None and stride < 1:
            raise ValueError(f"stride must be at least 1, found {stride}")
        self.path = None if path is None else Path(path).expanduser()
        self.context, self.stride, self.level = context, stride or context, level

    @cached_property
    def spec(self) -> Spec:
        """The spec, for which the text is read.

        Raises:
            DataError: the file cannot be read, or is too short.
        """
        text = self._text  # also for bytes: a file that cannot be read is found before a run starts
        vocabulary = tuple(map(chr, range(256)) if self.level == "byte" else sorted(set(text)))
        return Spec(
            task="language_modeling",
            in_shape=(self.context,),
            out_features=len(vocabulary),
            classes=vocabulary,
            has_test=True,
            supplies={"vocab_size": len(vocabulary)},
            example=torch.zeros(self.context, dtype=torch.long),
        )

    def load(self) -> Pool:
        """Return tokens [N, T] and the tokens that follow each of them [N, T], both int64, with a test set.

        Raises:
            DataError: the file cannot be read, or is too short.
        """
        number = {symbol: index for index, symbol in enumerate(self.spec.classes)}
        tokens = torch.tensor([number[symbol] for symbol in self._text])
        held_out = int(HELD_OUT * len(tokens))
        train, val, test = tokens.split([len(tokens) - 2 * held_out, held_out, held_out])
        return Pool(self._windows(train), test=self._windows(test), val=self._windows(val))

    @cached_property
    def _text(self) -> str:
        """The text; of bytes, each as the character with this number."""
        data = topics() if self.path is None else read(self.path)
        try:
            text = data.decode("latin-1" if self.level == "byte" else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}: is not text in UTF-8: {error}; to read it all the same: level=byte"
            ) from error
        if int(HELD_OUT * len(text)) <= self.context:
            raise DataError(
                f"{self.path or 'the text'}: found {len(text)} {self.level}s, too few for context={self.context}; "
                f"a tenth of them must be at least {self.context + 1}"
            )
        return text

    def _windows(self, tokens: Tensor) -> Samples:
        # Views: with a small stride, copies would need up to `context` times the memory.
        windows = tokens.unfold(0, self.context + 1, self.stride)
        return Samples(windows[:, :-1], windows[:, 1:])


def read(path: Path) -> bytes:
    """Return the contents of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def topics() -> bytes:
    """Return the documentation topics of Python's `help()`, about half a million characters.

    Raises:
        DataError: this Python has none.
    """
    try:
        from pydoc_data.topics import topics as texts  # late: only this dataset needs it, and it is large
    except ImportError as error:
        raise DataError(
            "this Python has no documentation topics (pydoc_data); set dataset.path to a text file"
        ) from error
    return "".join(texts[name] for name in sorted(texts)).encode()
