"""MWGNN-R: graph convolutions that each node's own surroundings adapt, as reconstructed; and in a residual form that is
ours.

Legend of shape suffixes: N nodes, E edges, Z meta coordinates, S structure, D states, C classes."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import model_validator
from torch import Tensor, nn

from roilake.pipelines.node_labels.models.batch import GraphShape, NodeGraph
from roilake.pipelines.node_labels.models.layers import Embedding, FeedForward, NetOptions, PatternGCNConv, SparseLinear
from roilake.pipelines.node_labels.models.meta_weights import META, Attention, Gate, GateKind, MetaWeights
from roilake.pipelines.node_labels.models.sparse import Pattern
from roilake.training.dropout import Dropout


class Options(NetOptions):
    """Each part switches off: the sources ``topology``, ``position`` and ``feature`` of the meta-weights, the gates
    (``gate: one``), the ``independent_channels``. Ours are ``residual``, ``states``, gates that are ``signed``, and the
    ``lead`` in attention that the convolution has over the other channels at the start: MWGNN-R is without them."""

    topology: bool = True
    position: bool = True
    feature: bool = True
    gate: GateKind = "positive"
    states: bool = True
    independent_channels: bool = True
    lead: float = 3.0
    residual: bool = True

    @property
    def sources(self) -> dict[str, bool]:
        """What meta-weights are made of."""
        return {"topology": self.topology, "position": self.position, "feature": self.feature}

    @model_validator(mode="after")
    def _some_source(self) -> Options:
        if not any(self.sources.values()):
            raise ValueError("meta-weights need one of topology, position and feature")
        return self


class Convolution(PatternGCNConv):
    """z_i = sum_j a_ij g_ij W h_j + b, a_ij = (d_i d_j)^-1/2, g as in ``Gate``; GCN's layer where g = 1."""

    def __init__(self, inputs: int, outputs: int, options: Options, first: SparseLinear | None = None) -> None:
        super().__init__(inputs, outputs, first)
        self.states = options.states
        if options.gate != "one":
            self.gate = Gate(options.gate, META + outputs * options.states)

    def forward(self, x: Any, edge_index: Pattern, meta_NZ: Tensor) -> Tensor:  # type: ignore[override]
        state_ND, value_E = self.lin(x), edge_index.symmetric_E
        if hasattr(self, "gate"):
            seen = torch.cat([meta_NZ, state_ND], dim=1) if self.states else meta_NZ
            value_E = value_E * self.gate(seen, edge_index)
        return edge_index.product(value_E, state_ND) + self.bias


class Structure(nn.Module):
    """Z^A_i = sum_j a_ij Theta s_j, s = [c^T || c^P]: no features (but for a_ij as in ``Convolution``)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, outputs)

    def forward(self, structure_NS: Tensor, pattern: Pattern) -> Tensor:
        return pattern.product(pattern.symmetric_E, self.map(structure_NS))


class PlainLayer(nn.Module):
    """h'_i = sum_r b_r sigma(Z^r_i) over r in {Z, Z^X, Z^A}, b as in ``Attention``: the convolution over A + I, Z^X an
    MLP of h_i, and ``Structure``; only Z without independent channels. sigma = ReLU, not at the last layer."""

    def __init__(self, sizes: tuple[int, int], options: Options, structure: int, *, first: bool, last: bool) -> None:
        super().__init__()
        inputs, outputs = sizes
        rate, width = options.dropout, options.hidden
        self.activation = nn.Identity() if last else nn.ReLU()
        self.convolution = Convolution(*sizes, options, SparseLinear(*sizes, rate) if first else None)
        self.dropout = nn.Identity() if first else Dropout(rate)
        self.fuse = None
        if options.independent_channels:
            self.fuse = Attention(2 + (structure > 0), outputs, options.lead)
            into = SparseLinear(inputs, width, rate, bias=True) if first else nn.Linear(inputs, width)
            self.own = nn.Sequential(into, nn.ReLU(), Dropout(rate), nn.Linear(width, outputs))
            self.structure = Structure(structure, outputs) if structure else None

    def forward(self, states: Any, graph: NodeGraph, meta: tuple[Tensor, Tensor]) -> Tensor:
        states = self.dropout(states)
        channels = [self.convolution(states, graph.looped, meta[0])]
        if self.fuse:
            channels.append(self.own(states))
            channels += [self.structure(meta[1], graph.looped)] if self.structure else []
        channels = [self.activation(channel) for channel in channels]
        return self.fuse(channels) if self.fuse else channels[0]


class ResidualLayer(nn.Module):
    """h'_i = h_i + sum_r b_r Z^r_i,  Z = FFN([n_i || conv(n)_i]), the convolution over A,  Z^X = FFN(n_i),
    Z^A = dropout of ``Structure``,  n = LayerNorm(h)."""

    def __init__(self, options: Options, structure: int) -> None:
        super().__init__()
        width, rate = options.hidden, options.dropout
        self.norm = nn.LayerNorm(width)
        self.convolution = Convolution(width, width, options)
        self.mix = FeedForward(2 * width, width, rate)
        self.fuse = None
        if options.independent_channels:
            self.fuse = Attention(2 + (structure > 0), width, options.lead)
            self.own = FeedForward(width, width, rate)
            self.structure = Structure(structure, width) if structure else None
            self.dropout = Dropout(rate)

    def forward(self, states_ND: Tensor, graph: NodeGraph, meta: tuple[Tensor, Tensor]) -> Tensor:
        own_ND = self.norm(states_ND)
        around_ND = self.convolution(own_ND, graph.neighbours, meta[0])
        channels = [self.mix(torch.cat([own_ND, around_ND], dim=1))]
        if self.fuse:
            channels.append(self.own(own_ND))
            channels += [self.dropout(self.structure(meta[1], graph.neighbours))] if self.structure else []
        return states_ND + (self.fuse(channels) if self.fuse else channels[0])


class Model(nn.Module):
    """M, s = MetaWeights(graph),  h_{l+1} = layer_l(h_l, M, s)

    MWGNN-R is ``PlainLayer``s from h_0 = x to the logits, with dropout before each, in form a GCN: it is one at the
    start but for the channels, and for ever with ``gate: one`` and no independent channels.

    Ours (``residual``): h_0 = GELU(dropout(W x + b)), ``ResidualLayer``s, logits = W' LayerNorm(h_L) + b', as the
    baselines of Platonov et al. 2023 have it (arXiv 2302.11640; see ``layers.ResidualNet``); gates that see states.

    Source: Ma et al. 2022 (arXiv 2203.10280), reconstructed from its abstract: see ``meta_weights``.

    Shapes: x [N, F], M [N, Z], s [N, S], h [N, D], logits [N, C]."""

    def __init__(self, options: Options, shape: GraphShape) -> None:
        super().__init__()
        self.meta = MetaWeights(shape, options.sources, options.dropout)
        structure, sizes = self.meta.structure, options.sizes(shape)
        if options.residual:
            self.first: nn.Module = Embedding(options, shape)
            self.layers = nn.ModuleList(ResidualLayer(options, structure) for _ in sizes)
            self.head: nn.Module = nn.Sequential(nn.LayerNorm(options.hidden), nn.Linear(options.hidden, shape.classes))
        else:
            self.first, self.head, last = nn.Identity(), nn.Identity(), len(sizes) - 1
            self.layers = nn.ModuleList(
                PlainLayer(size, options, structure, first=number == 0, last=number == last)
                for number, size in enumerate(sizes)
            )

    def forward(self, graph: NodeGraph) -> Tensor:
        """Logits [N, C]."""
        meta, states = self.meta(graph), self.first(graph)
        for layer in self.layers:
            states = layer(states, graph, meta)
        return self.head(states)
