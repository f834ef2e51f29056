"""A transformer over texts without padding, built as BERT is.

Legend of shape suffixes: n texts, T their tokens, L tokens of the longest, D width, H heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.text.tokens import Layout
from roilake.training.dropout import Dropout


class Layer(nn.Module):
    """h' = norm(h + attention(h)),  h'' = norm(h' + W_2 GELU(W_1 h'))

    Source: Devlin et al., "BERT" (2019, arXiv 1810.04805). Only attention needs the padded grid.

    Shapes: h [T, D], the heads' queries, keys and values [n, H, L, D / H]."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_in, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)
        self.attention_norm, self.norm = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, state_TD: Tensor, layout: Layout) -> Tensor:
        state_TD = self.attention_norm(state_TD + self.dropout(self._attend(state_TD, layout)))
        return self.norm(state_TD + self.dropout(self.outer(F.gelu(self.inner(state_TD)))))

    def _attend(self, state_TD: Tensor, layout: Layout) -> Tensor:
        grid = layout.grid(self.attention_in(state_TD)).unflatten(2, (3, self.heads, -1))
        query, key, value = grid.permute(2, 0, 3, 1, 4).unbind(0)
        seen = layout.filled_nL[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.attention_out(layout.tokens(mixed.transpose(1, 2).flatten(2)))
