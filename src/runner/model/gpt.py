"""A small GPT."""

from math import sqrt

import torch.nn.functional as F
from torch import Tensor, nn

from runner.registry import MODELS


class Block(nn.Module):
    """A transformer block: causal self-attention, then an MLP, each normalized before and added to its input.

    Args:
        width: number of features of each token.
        heads: number of attention heads.
        dropout: probability of zeroing an attention weight, or an element that is added, during training.

    Shapes:
        Input and output: [B, T, width].
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.dropout(self.contract(F.gelu(self.expand(self.norm2(x)))))

    def attend(self, x: Tensor) -> Tensor:
        """Return for each token a mixture of the values of this and of all earlier tokens."""
        query, key, value = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, width / heads]
            for each in self.qkv(x).chunk(3, dim=2)
        )
        dropout = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        return self.project(mixed.transpose(1, 2).flatten(2))


@MODELS.register("gpt", supply={"vocab_size": "vocab_size"})
class GPT(nn.Module):
    """Decoder-only transformer that predicts the next token at each position.

    Positions are learned embeddings. The output layer shares its weights with the token embedding.

    Args:
        in_shape: shape (T,) of one input; T is the largest number of tokens.
        out_features: number of logits for each token, which is `vocab_size`.
        vocab_size: number of different tokens, V.
        depth: number of blocks.
        heads: number of attention heads of each block.
        width: number of features of each token, divisible by `heads`.
        dropout: probability of zeroing an attention weight, or an element that is added to a token, during training.

    Shapes:
        Input: tokens [B, T], int64; also fewer than those of `in_shape`.
        Output: logits [B, T, V].

    Raises:
        ValueError: `in_shape` is not (T,), or `out_features` is not `vocab_size`.
        ValueError: `depth`, `heads` or `width` is below 1, or `width` is not divisible by `heads`.
        ValueError: `dropout` is not in [0, 1].

    Source:
        Vaswani et al. 2017, "Attention Is All You Need".
        Normalization and initialization: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
        section 2.3.
        Shared weights: Press and Wolf 2017, "Using the Output Embedding to Improve Language Models".
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        vocab_size: int,
        depth: int = 4,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(in_shape) != 1:
            raise ValueError(f"needs tokens of shape (T,), found {tuple(in_shape)}")
        if out_features != vocab_size:
            raise ValueError(f"predicts one of vocab_size={vocab_size} tokens, found out_features={out_features}")
        if min(depth, heads, width) < 1:
            raise ValueError(f"depth, heads and width must be at least 1, found {depth}, {heads} and {width}")
        if width % heads:
            raise ValueError(f"width must be divisible by heads, found width={width} and heads={heads}")
        self.tokens, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(in_shape[0], width)
        self.dropout = nn.Dropout(dropout)
        blocks = [Block(width, heads, dropout) for _ in range(depth)]
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(width)

        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for block in blocks:  # each adds to a sum of 2 * depth terms
            for last in (block.project, block.contract):
                nn.init.normal_(last.weight, std=0.02 / sqrt(2 * depth))

    def forward(self, tokens: Tensor) -> Tensor:
        length, longest = tokens.shape[1], self.positions.num_embeddings
        if length > longest:
            raise ValueError(f"needs at most {longest} tokens, found {length}")
        x = self.dropout(self.tokens(tokens) + self.positions.weight[:length])
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)
