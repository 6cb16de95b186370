"""Language modeling: the next token at each position."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from runner.dataset.tree import Tree
from runner.errors import DataError
from runner.registry import TASKS
from runner.task.classification import Classification

BYTES = tuple(map(chr, range(256)))  # the vocabulary of a text of bytes, each as the character with its number


@TASKS.register("language_modeling")
class LanguageModeling(Classification):
    """Predict the next token: tokens [B, T], outputs [B, T, V], next tokens [B, T]; padding is `ignore_index`.

    Args:
        length: number of tokens by which `predict` continues a prompt.
        temperature: divisor of the logits when a token is drawn; 0 takes the most probable one.
    """

    fits: ClassVar[tuple[str, ...]] = ("language_modeling",)
    class_dim: ClassVar[int] = -1
    is_masked: ClassVar[bool] = True

    def __init__(self, length: int = 200, temperature: float = 0.8) -> None:
        if length < 1 or temperature < 0:
            raise ValueError(f"length must be at least 1 and temperature at least 0, found {length} and {temperature}")
        self.length, self.temperature = length, temperature

    def loss(self, loss_fn: nn.Module, outputs: Any, targets: Tree, inputs: Tree) -> Tensor:
        """Return the loss over all tokens of the batch, as outputs [B * T, V] and targets [B * T]."""
        return loss_fn(outputs.flatten(0, 1), targets.flatten(0, 1))

    def metrics(self) -> list[str]:
        return ["accuracy", "perplexity"]

    def out_shape(self) -> tuple[int, ...] | None:
        return (*self.spec.in_shape, self.spec.out_features)

    def two_targets(self) -> Tree:
        return torch.zeros(2, *self.spec.in_shape, dtype=torch.long)

    def per_class(self, outputs: Any, targets: Tree) -> dict[str, Tensor]:
        return {}

    def encode(self, text: str) -> Tensor:
        """Return the tokens [T] of a text.

        Raises:
            DataError: the text is empty, or has a character that the vocabulary does not have.
        """
        if self.spec.classes == BYTES:
            text = text.encode().decode("latin-1")
        known = {token: index for index, token in enumerate(self.spec.classes)}
        unknown = sorted({character for character in text if character not in known})
        if unknown or not text:
            found = f"has characters that the model does not know: {''.join(unknown[:20])!r}" if unknown else "is empty"
            raise DataError(f"the prompt {found}")
        return torch.tensor([known[character] for character in text])

    @torch.no_grad()
    def generate(self, model: Callable[..., Any], tokens: Tensor) -> str:
        """Return the text of a prompt [T] and its continuation; the same prompt always gives the same text."""
        generator = torch.Generator().manual_seed(0)
        context, device = self.spec.in_shape[0], tokens.device
        for _ in range(self.length):
            logits = self.forward(model, tokens[None, -context:])[0, -1].float().cpu()
            if self.temperature == 0:
                following = logits.argmax()[None]
            else:
                following = torch.multinomial((logits / self.temperature).softmax(0), 1, generator=generator)
            tokens = torch.cat([tokens, following.to(device)])
        text = "".join(self.spec.classes[token] for token in tokens.tolist())
        return text.encode("latin-1").decode(errors="replace") if self.spec.classes == BYTES else text
