"""Two encoders of texts: MiniLM whose last layers learn, and a small transformer over hashed words from scratch. Each
has one set of learned layers, or one for each side (of queries and of entities).

Legend of shape suffixes: N texts, n of them, T their tokens, D width."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.text import pretrained
from roilake.pipelines.knowledge_graph.models.text.tokens import Layout, Tokens, hashed_words
from roilake.pipelines.knowledge_graph.models.text.transformer import Layer

_LOG = logging.getLogger(__name__)
_BLOCK = 256  # texts
_CACHE_BYTES = 4 << 30
_HEADS, _BUCKETS = 4, 1 << 15


class PretrainedEncoder(nn.Module):
    """u = mean over tokens of the last states of MiniLM; its last ``layers`` learn, and what is before them is as it
    came.

    What the first layers make of each text is kept in memory as float16 once training has begun, where that takes less
    than 4 GiB: with one layer that learns, a step on a CPU then takes a sixth of the time."""

    text_ND: Tensor

    def __init__(self, texts: Sequence[str], limit: int, layers: int, sides: int, dropout: float) -> None:
        super().__init__()
        self.width, self._tokens = pretrained.WIDTH, pretrained.tokenize(texts, limit)
        embedding, every = pretrained.load(dropout)
        # In lists, so that they are no part of the model's state: the package has them
        self._embedding, self._every, self._first = [embedding], every, len(every) - layers
        learnt = every[self._first :]
        self.sides = nn.ModuleList(nn.ModuleList(copy.deepcopy(learnt)) for _ in range(sides))
        self.register_buffer("text_ND", torch.zeros(len(texts), self.width, dtype=torch.float16))
        self._kept_TD: Tensor | None = None

    def forward(self, text_n: Tensor, side: int) -> Tensor:
        """u [n, D]. Where no layer learns, what ``prepare`` made, if it did."""
        if self._first == len(self._every) and (made_nD := self.plain(text_n)).any():
            return made_nD
        self._to(text_n.device)
        layout = self._tokens.layout(text_n)
        state_TD = self._first_states(layout)
        for layer in self._learnt(side):
            state_TD = layer(state_TD, layout)
        return layout.mean(state_TD)

    def plain(self, text_n: Tensor) -> Tensor:
        """u of MiniLM as it came [n, D]."""
        return self.text_ND[text_n].float()

    @torch.no_grad()
    def prepare(self) -> None:
        """Before the first step: make what does not learn."""
        if self._kept_TD is not None:
            return
        self._to(self.text_ND.device)
        size = len(self._tokens.number_T) if self._cached else 0
        kept_TD = torch.empty(size, self.width, dtype=torch.float16, device=self.text_ND.device)
        _LOG.info("MiniLM reads %s texts, once", f"{len(self.text_ND):,}")
        began = time.perf_counter()
        for text_n in self._tokens.start_N1.diff().argsort().split(_BLOCK):
            layout = self._tokens.layout(text_n)
            state_TD = self._run(layout, 0, self._first)
            if size:
                kept_TD[layout.index_T] = state_TD.half()
            self.text_ND[text_n] = layout.mean(self._run(layout, self._first, len(self._every), state_TD)).half()
        self._kept_TD, seconds = kept_TD, time.perf_counter() - began
        _LOG.info("MiniLM has read them in %.1f s (%s/s)", seconds, f"{len(self.text_ND) / seconds:,.0f}")

    @property
    def _cached(self) -> bool:
        learns = self._first < len(self._every)
        return learns and len(self._tokens.number_T) * self.width * 2 < _CACHE_BYTES

    @torch.no_grad()
    def _first_states(self, layout: Layout) -> Tensor:
        """What the layers that do not learn make of the tokens [T, D]."""
        if self._kept_TD is not None and len(self._kept_TD):
            return self._kept_TD[layout.index_T].float()
        return self._run(layout, 0, self._first)

    def _run(self, layout: Layout, first: int, last: int, state_TD: Tensor | None = None) -> Tensor:
        if state_TD is None:
            state_TD = self._embedding[0](self._tokens.number_T[layout.index_T], layout)
        for layer in self._every[first:last]:
            state_TD = layer.eval()(state_TD, layout)
        return state_TD

    def _to(self, device: torch.device) -> None:
        """Move what is no part of the state."""
        if self._tokens.start_N1.device == device:
            return
        self._tokens = self._tokens.on(device)
        for module in (*self._embedding, *self._every):
            module.to(device)

    def _learnt(self, side: int) -> Any:
        return self.sides[side % len(self.sides)]


class ScratchEncoder(nn.Module):
    """u = mean over words of the last states of a transformer over the vectors of words and positions; a word is the
    mean of the vectors of its buckets (see ``hashed_words``)."""

    def __init__(self, texts: Sequence[str], limit: int, layers: int, sides: int, dropout: float, width: int) -> None:
        super().__init__()
        self.width = width
        words = [hashed_words(text, _BUCKETS, limit) for text in texts]
        self._words = Tokens.of([range(len(each)) for each in words])
        self._parts = Tokens.of([parts for each in words for parts in each])
        self.word, self.position = nn.Embedding(_BUCKETS, width), nn.Embedding(limit, width)
        self.norm = nn.LayerNorm(width)
        learnt = [Layer(width, _HEADS, 4 * width, dropout) for _ in range(layers)]
        self.sides = nn.ModuleList(nn.ModuleList(copy.deepcopy(learnt)) for _ in range(sides))

    def forward(self, text_n: Tensor, side: int) -> Tensor:
        """u [n, D]."""
        layout = self._words.on(text_n.device).layout(text_n)
        state_TD = self.norm(self._vectors(layout) + self.position(layout.position_T))
        layers: Any = self.sides[side % len(self.sides)]
        for layer in layers:
            state_TD = layer(state_TD, layout)
        return layout.mean(state_TD)

    def plain(self, text_n: Tensor) -> Tensor:
        """The mean of the vectors of its words [n, D]."""
        layout = self._words.on(text_n.device).layout(text_n)
        return layout.mean(self._vectors(layout))

    def prepare(self) -> None:
        """Nothing: all learns."""

    def _vectors(self, layout: Layout) -> Tensor:
        """Of words [T, D]."""
        parts = self._parts.on(layout.start_n.device)
        of_words = parts.layout(layout.index_T)
        return of_words.mean(self.word(parts.number_T[of_words.index_T]))
