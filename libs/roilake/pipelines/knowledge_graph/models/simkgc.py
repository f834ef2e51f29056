"""SimKGC: entities and queries as vectors of their texts, told apart by contrast.

Legend of shape suffixes: N entities, n of them, R relations, Q queries, W width of texts, X of inputs, D of vectors, K
neighbours."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from roilake.pipelines.knowledge_graph.models.batch import KnowledgeGraph, TripleBatch
from roilake.pipelines.knowledge_graph.models.contrastive import InfoNCE
from roilake.pipelines.knowledge_graph.models.structural import Ask, Count, Part, Weight, Width
from roilake.pipelines.knowledge_graph.models.text.encoders import PretrainedEncoder, ScratchEncoder
from roilake.pipelines.knowledge_graph.models.text.neighbours import Neighbours
from roilake.training import Term
from roilake.training.dropout import Dropout
from roilake.training.models import Options as ModelOptions

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Options(ModelOptions):
    """``encoder``: MiniLM, or a transformer of ``text_width`` over hashed words. ``layers`` of it learn: the last ones
    of MiniLM (0..6), all from scratch. ``shared``: the same layers for entities and heads. ``encoder_rate``: the
    learning rate of MiniLM's layers over that of all else. ``pre_batch``: so many tails of earlier steps are negatives
    too. ``neighbours``: at most so many of an entity's neighbours join its text; 0: none."""

    encoder: Literal["pretrained", "scratch"] = "pretrained"
    layers: Annotated[int, Field(ge=0, le=6)] = 1
    text_width: Annotated[int, Field(ge=4, multiple_of=4)] = 128
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 50
    shared: bool = False
    neighbours: Annotated[int, Field(ge=0)] = 10
    hidden: Count = 1024
    width: Width = 256
    dropout: Part = 0.1
    encoder_rate: Positive = 0.05
    temperature: Positive = 0.05
    fixed_temperature: bool = False
    margin: Weight = 0.02
    pre_batch: Annotated[int, Field(ge=0)] = 0
    self_negatives: bool = True
    false_negative_mask: bool = True


class Head(nn.Module):
    """y = unit(A x + C GELU((1 + s) * (B x) + b)); s and b are 0 of an entity, and of a query those of its relation.

    Shapes: x [n, X], y [n, D], s and b [n, H]."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.straight = nn.Linear(inputs, width, bias=False)
        self.inner, self.outer = nn.Linear(inputs, hidden), nn.Linear(hidden, width)

    def forward(self, input_nX: Tensor, scale_nH: Tensor | None = None, shift_nH: Tensor | None = None) -> Tensor:
        inner_nH = self.inner(input_nX)
        if scale_nH is not None and shift_nH is not None:
            inner_nH = inner_nH * (1 + scale_nH) + shift_nH
        return F.normalize((self.straight(input_nX) + self.outer(F.gelu(inner_nH))).float(), dim=1)


class Relations(nn.Module):
    """(s, b) of relation r = E text(r) + f_r, f learned, 0 and of deviation 0.5 at first.

    Shapes: text [2 R, W], s and b [2 R, H]."""

    def __init__(self, relations: int, width: int, hidden: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, 2 * hidden, bias=False)
        self.free = nn.Embedding(relations, 2 * hidden)
        nn.init.zeros_(self.text.weight)
        nn.init.zeros_(self.free.weight[:, :hidden])
        nn.init.normal_(self.free.weight[:, hidden:], std=0.5)

    def forward(self, text_RW: Tensor) -> Tensor:
        """[2 R, 2 H]."""
        both: Tensor = self.text(text_RW) + self.free.weight
        return both


class Model(nn.Module):
    """s(h, r, t) = q . t,   q = head_q(input_q(h), text_q(r)),   t = head_t(input_t(t))

    input(e) = [text(e) || around(e)]. text: the mean over tokens of a transformer's last states; that of the inverse of
    r is of "inverse" and r's text. around: the mean of the neighbours' texts, as they are before any training (see
    ``Neighbours``); in training the answer of a query is left out of it, on both sides.
    Loss: see ``InfoNCE``.

    Source: Wang et al., "SimKGC: simple contrastive knowledge graph completion with pre-trained language models" (2022,
    arXiv 2203.02167). There the relation and the names of the neighbours are part of the text. Here they join behind
    the transformer, so that an entity is encoded once however many queries of a step, or of a night, have it.

    Shapes: text, around [n, W], q, t [., D]."""

    def __init__(self, options: Options, graph: KnowledgeGraph) -> None:
        super().__init__()
        self.options, self._count = options, graph.entities
        inverse = [f"inverse {text}" for text in graph.relation_text]
        texts = (*graph.entity_text, *graph.relation_text, *inverse)
        common = texts, options.max_tokens, options.layers, 1 if options.shared else 2, options.dropout
        self.encoder: PretrainedEncoder | ScratchEncoder
        if options.encoder == "pretrained":
            self.encoder = PretrainedEncoder(*common)
        else:
            self.encoder = ScratchEncoder(*common, options.text_width)
        width = self.encoder.width
        self.text_norm = nn.LayerNorm(width)
        self.neighbours = Neighbours(graph, options.neighbours, width) if options.neighbours else None
        inputs = 2 * width if options.neighbours else width
        self.relations = Relations(2 * graph.relations, width, options.hidden)
        self.head_queries, self.head_entities = (Head(inputs, options.hidden, options.width) for _ in range(2))
        self.dropout = Dropout(options.dropout)
        self.contrast = InfoNCE(
            options.width,
            temperature=options.temperature,
            fixed_temperature=options.fixed_temperature,
            margin=options.margin,
            ring=options.pre_batch,
            self_negatives=options.self_negatives,
            false_negative_mask=options.false_negative_mask,
        )

    def losses(self, batch: TripleBatch) -> dict[str, Term]:
        """Of this rank's queries; each distinct entity is encoded once for a side."""
        self.encoder.prepare()
        head_q, relation_q, tail_q = (each[batch.own] for each in (batch.head_Q, batch.relation_Q, batch.tail_Q))
        distinct_n, index = torch.cat([head_q, tail_q]).unique(return_inverse=True)
        head_index, tail_index = index.chunk(2)
        heads_nW = self.encoder(distinct_n, 0)
        tails_nW = heads_nW if self.options.shared else self.encoder(distinct_n, 1)
        query_qX = self._inputs(heads_nW[head_index], head_q, tail_q)
        tail_qX = self._inputs(tails_nW[tail_index], tail_q, head_q)
        return self.contrast(self._compose(query_qX, relation_q, self._both()), self.head_entities(tail_qX), batch)

    def queries(self, head_Q: Tensor, relation_Q: Tensor, both_RH: Tensor | None = None) -> Tensor:
        """[Q, D]; each distinct head is encoded once. ``both_RH``: of relations, made unless given."""
        distinct_n, index_Q = head_Q.unique(return_inverse=True)
        head_nX = self._inputs(self.encoder(distinct_n, 0), distinct_n, None)
        return self._compose(head_nX[index_Q], relation_Q, self._both() if both_RH is None else both_RH)

    def asking(self, entity_ND: Tensor) -> Ask:
        """Scores of these entities for as long as the weights stay: relations are encoded once."""
        both_RH = self._both()
        return lambda head_Q, relation_Q: self.scores(self.queries(head_Q, relation_Q, both_RH).float(), entity_ND)

    def _both(self) -> Tensor:
        """(s, b) of all relations [2 R, 2 H]."""
        numbers = range(self._count, self._count + len(self.relations.free.weight))
        number_R = torch.tensor(numbers, device=self.text_norm.weight.device)
        both_RH: Tensor = self.relations(self.text_norm(self.encoder(number_R, 0)))
        return both_RH

    def _compose(self, head_QX: Tensor, relation_Q: Tensor, both_RH: Tensor) -> Tensor:
        """Queries of heads [Q, D]."""
        query_QD: Tensor = self.head_queries(head_QX, *both_RH[relation_Q].chunk(2, dim=1))
        return query_QD

    def entities(self, first: int, last: int) -> Tensor:
        """[last - first, D]."""
        entity_n = torch.arange(first, last, device=self.text_norm.weight.device)
        vector_nD: Tensor = self.head_entities(self._inputs(self.encoder(entity_n, 1), entity_n, None))
        return vector_nD

    def scores(self, query_QD: Tensor, entity_nD: Tensor) -> Tensor:
        """Cosines [Q, n]."""
        return query_QD @ entity_nD.t()

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters, and how fast they learn beside the others."""
        pretrained = list(self.encoder.parameters()) if self.options.encoder == "pretrained" else []
        rest = [p for p in self.parameters() if id(p) not in {id(each) for each in pretrained}]
        return [(rest, 1.0), (pretrained, self.options.encoder_rate)]

    def _inputs(self, text_nW: Tensor, entity_n: Tensor, without_n: Tensor | None) -> Tensor:
        """[n, X]."""
        parts = [self.text_norm(text_nW)]
        if self.neighbours:
            parts.append(self.neighbours(self.encoder.plain, entity_n, without_n))
        return self.dropout(torch.cat(parts, dim=1))
