"""Tokens of many texts without padding.

Legend of shape suffixes: N texts, n of them, T their tokens, L tokens of the longest."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from roilake.training.context import to_device

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Tokens:
    """Texts as numbers of tokens, one behind the other. A text has at least one token."""

    start_N1: Tensor  # int64: the tokens of text i are those from start[i] to start[i + 1]
    number_T: Tensor  # int64

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> Tokens:
        """Of the numbers of each text."""
        lengths = torch.tensor([len(numbers) for numbers in texts], dtype=torch.int64)
        start_N1 = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        return cls(start_N1, torch.tensor([number for numbers in texts for number in numbers], dtype=torch.int64))

    def on(self, device: torch.device) -> Tokens:
        """The same on a device; moved there once."""
        if device not in self._copies:
            self._copies[device] = to_device(self, device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, Tokens]:
        return {self.start_N1.device: self}

    def layout(self, text_n: Tensor) -> Layout:
        """Where the tokens of some texts lie."""
        return Layout(self.start_N1[text_n], self.start_N1[text_n + 1] - self.start_N1[text_n])


@dataclass(frozen=True)
class Layout:
    """Tokens of n texts, one text behind the other, and their cells in a padded grid [n, L]."""

    start_n: Tensor
    length_n: Tensor

    @cached_property
    def text_T(self) -> Tensor:
        """The text of each token, 0..n-1."""
        return torch.arange(len(self.length_n), device=self.length_n.device).repeat_interleave(self.length_n)

    @cached_property
    def position_T(self) -> Tensor:
        """The position of each token in its text."""
        first_n = self.length_n.cumsum(0) - self.length_n
        return torch.arange(len(self.text_T), device=self.length_n.device) - first_n[self.text_T]

    @cached_property
    def index_T(self) -> Tensor:
        """The place of each token among those of all texts."""
        return self.start_n[self.text_T] + self.position_T

    @cached_property
    def longest(self) -> int:
        """L."""
        return int(self.length_n.max())

    @cached_property
    def cell_T(self) -> Tensor:
        """The cell of each token in the flattened grid."""
        return self.text_T * self.longest + self.position_T

    @cached_property
    def filled_nL(self) -> Tensor:
        """Which cells of the grid hold a token."""
        return torch.arange(self.longest, device=self.length_n.device) < self.length_n[:, None]

    def grid(self, value_TD: Tensor) -> Tensor:
        """Padded with zeros [n, L, D]."""
        size = len(self.length_n) * self.longest
        cells = value_TD.new_zeros(size, value_TD.shape[1]).index_copy(0, self.cell_T, value_TD)
        return cells.view(len(self.length_n), self.longest, -1)

    def tokens(self, grid_nLD: Tensor) -> Tensor:
        """The tokens of a grid [T, D]."""
        return grid_nLD.flatten(0, 1).index_select(0, self.cell_T)

    def mean(self, value_TD: Tensor) -> Tensor:
        """The mean over each text's tokens [n, D]."""
        total_nD = value_TD.new_zeros(len(self.length_n), value_TD.shape[1]).index_add(0, self.text_T, value_TD)
        return total_nD / self.length_n[:, None]


def hashed_words(text: str, buckets: int, limit: int) -> list[list[int]]:
    """For each of the first ``limit`` words the buckets of the word and of its character trigrams; an empty text has
    one word, the empty one. Any script; case does not count.

    Source of the trigrams: Bojanowski et al., "Enriching word vectors with subword information" (2017)."""
    words = [word for word, _ in zip(_words(text), range(limit), strict=False)] or [""]
    return [[zlib.crc32(part.encode()) % buckets for part in _parts(f"<{word}>")] for word in words]


def _words(text: str) -> Sequence[str]:
    return _WORD.findall(text.lower())


def _parts(word: str) -> list[str]:
    return [word, *(word[start : start + 3] for start in range(len(word) - 2) if len(word) > 3)]
