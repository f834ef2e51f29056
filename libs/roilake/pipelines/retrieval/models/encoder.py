"""Nodes to vectors: the fields of a node, each embedded in the same space, and their plain sum.

Legend: N nodes, K fields, D = ``dim``, T terms, V = interest dimension.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roilake.pipelines.retrieval.models.batch import FeatureSchema, NodeFeatures, TypeFeatures
from roilake.pipelines.retrieval.models.tower import EncoderOptions, TwinTower
from roilake.pipelines.retrieval.roi.layout import RoiLayout

NODE_TYPES = ("user", "query", "item")
DEGREE_BUCKETS = 40
DENSE_ROWS = 8192
"""Rows of a table up to which a step of Adam on all of them is cheaper than on those that it touched, 2,000 or so: on
MovieLens 1.2 ms of a step's 22 against 4.9 of 27."""


class FieldEncoder(nn.Module):
    """Fields of the nodes of one type as vectors [N, K, D]: interest, id, degree, terms, then one per category field.

    * interest: v W, where W starts as the identity, so an untrained model scores by the interest vectors' dot product;
    * id: a learned row per node, 0 for a node that the graph of the window does not hold (it was never trained);
      of a type with more than ``id_buckets`` nodes, a ``HashedEmbedding``;
    * degree: a row per power of two of the number of events before the window;
    * terms: mean of the rows of the node's terms; categories: a row per category, 0 for unknown;
    * vector: u U of what published facts tell, where the type has it.

    A linear map of a concatenation of embedded fields is the sum of fields embedded by their own maps; so the type
    mapping of ZOOMER (step 2) needs no matrix of its own here."""

    def __init__(
        self,
        schema: FeatureSchema,
        node_type: str,
        dim: int,
        id_buckets: int | None = None,
        without_fields: Collection[str] = (),
        *,
        vectors: bool = True,
        spread: float = 0.02,
    ) -> None:
        """``spread`` is the standard deviation of the rows that are drawn; without ``vectors`` these are not seen."""
        super().__init__()
        self.interest = nn.Linear(schema.interest_dim, dim, bias=False)
        nn.init.eye_(self.interest.weight)
        nodes = max(schema.num_nodes[node_type], 1)
        hashed = id_buckets is not None and nodes > id_buckets
        self.id = HashedEmbedding(id_buckets or 1, dim) if hashed else _table(nodes, dim)
        self.degree = nn.Embedding(DEGREE_BUCKETS, dim)
        self.terms = _table(schema.num_terms, dim, padding_idx=0)
        counts = schema.num_categories[node_type]
        self._places = [place for place, name in enumerate(counts) if name not in without_fields]
        self.categories = nn.ModuleList(
            nn.Embedding(count + 1, dim, padding_idx=0) for name, count in counts.items() if name not in without_fields
        )
        width = schema.vector_dim.get(node_type, 0) if vectors else 0
        self.vector = nn.Linear(width, dim, bias=False) if width else None
        if self.vector:
            nn.init.normal_(self.vector.weight, std=spread)
        for table in (part for part in self.modules() if isinstance(part, nn.Embedding)):
            nn.init.normal_(table.weight, std=spread)
            if table.padding_idx is not None:
                nn.init.zeros_(table.weight[table.padding_idx : table.padding_idx + 1])

    def forward(self, features: TypeFeatures, ids_N: Tensor | None = None, *, ids: bool = True) -> Tensor:
        """Fields [N, K, D] of the nodes ``ids_N`` (all nodes of the type if None), without the id's if not ``ids``."""
        return torch.stack(self.fields(features, ids_N, ids), dim=1)

    def sum(self, features: TypeFeatures, ids_N: Tensor | None = None, *, ids: bool = True) -> Tensor:
        """Sum of the fields [N, D]."""
        first, *rest = self.fields(features, ids_N, ids)
        for field_ND in rest:
            first = first + field_ND
        return first

    def fields(self, features: TypeFeatures, ids_N: Tensor | None, ids: bool = True) -> list[Tensor]:
        """The fields, one [N, D] each."""
        pick = (lambda x: x) if ids_N is None else (lambda x: x[ids_N])
        degree_N = pick(features.degree_N).clamp(max=DEGREE_BUCKETS - 1)
        fields = [self.interest(pick(features.interest_ND)), self.degree(degree_N)]
        if ids:
            known_N1 = (degree_N > 0).unsqueeze(1)
            rows_N = torch.arange(len(degree_N), device=degree_N.device) if ids_N is None else ids_N
            fields.append(self.id(rows_N) * known_N1)
        fields.append(self._mean_of_terms(pick(features.terms_NT)))
        if self.vector:
            assert features.vector_NV is not None
            fields.append(self.vector(pick(features.vector_NV)))
        categories_NF = pick(features.fields_NF)
        tables = zip(self._places, self.categories, strict=True)
        return fields + [table(categories_NF[:, place]) for place, table in tables]

    def _mean_of_terms(self, terms_NT: Tensor) -> Tensor:
        if terms_NT.shape[1] == 0 or self.terms.num_embeddings == 1:  # none but the padding
            return self.terms.weight.new_zeros(len(terms_NT), self.terms.embedding_dim)
        table = self.terms
        return F.embedding_bag(terms_NT, table.weight, mode="mean", padding_idx=table.padding_idx, sparse=table.sparse)


def _table(rows: int, dim: int, padding_idx: int | None = None) -> nn.Embedding:
    """A learned table, of whose rows a step touches few where it is large."""
    return nn.Embedding(rows, dim, padding_idx=padding_idx, sparse=rows > DENSE_ROWS)


class HashedEmbedding(nn.Module):
    """Rows of more nodes than there is memory for: e_n = T[h_1(n)] + T[h_2(n)] [N, D], with h_1 and h_2 two hashes to
    the ``buckets`` rows of one learned table. Two nodes share both rows with probability 2 / buckets^2, so almost every
    node keeps a vector of its own (Svenstrup, Hansen and Winther 2017, without their learned weights)."""

    def __init__(self, buckets: int, dim: int) -> None:
        super().__init__()
        self.table = _table(buckets, dim)

    def forward(self, ids_N: Tensor) -> Tensor:
        first_ND, second_ND = (self.table(_hash(ids_N, key) % self.table.num_embeddings) for key in (1, 2))
        return first_ND + second_ND


def _hash(ids_N: Tensor, key: int) -> Tensor:
    """Keyed 62-bit hash of ids (the finalizer of splitmix64; Steele, Lea and Flood 2014)."""
    mixed_N = ids_N + ((key * 0x9E3779B97F4A7C15 + (1 << 63)) % (1 << 64) - (1 << 63))
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        mixed_N = (mixed_N ^ (mixed_N >> shift & (1 << 64 - shift) - 1)) * factor
    return mixed_N >> 2 & (1 << 62) - 1


class Encoders(nn.ModuleDict):
    """A ``FieldEncoder`` by node type."""

    def __init__(self, schema: FeatureSchema, options: EncoderOptions) -> None:
        given = options.dim, options.id_buckets, options.without_fields
        vectors = not options.without_vectors
        super().__init__({name: FieldEncoder(schema, name, *given, vectors=vectors) for name in NODE_TYPES})

    def __getitem__(self, key: str) -> FieldEncoder:
        return cast(FieldEncoder, super().__getitem__(key))


class EncoderTower(TwinTower):
    """A tower that embeds nodes by their fields, in ``encoders``."""

    def __init__(self, options: EncoderOptions, schema: FeatureSchema, *layouts: RoiLayout) -> None:
        super().__init__(options, schema, *layouts)
        self.encoders = Encoders(schema, options)
        self.roots_have_ids = {name: name != "user" or options.user_ids == "learned" for name in NODE_TYPES}

    def root(self, name: str, ids_B: Tensor, features: NodeFeatures) -> Tensor:
        """Summed fields [B, D] of the nodes that a request, or an item, is made of."""
        return self.encoders[name].sum(features[name], ids_B, ids=self.roots_have_ids[name])

    def interest_vectors(self, features: NodeFeatures) -> dict[str, Tensor]:
        """What a trained model thinks of each node, in the space of the interest vectors it started from [N, V].

        h_n = l2norm(v_n + e_n), with v_n the interest vector that went in and e_n the first V coordinates of the
        learned id row: the map from v_n starts as the identity, so e_n is a correction of v_n in its own space.
        0 for unseen nodes. The next night selects by these vectors (ours: how the paper refreshes its vectors is not
        known).
        """
        vectors = {}
        for name in NODE_TYPES:
            given = features[name]
            ids_N = torch.arange(len(given.degree_N), device=given.degree_N.device)
            learned_NV = self.encoders[name].id(ids_N)[:, : given.interest_ND.shape[1]]
            known_N1 = (given.degree_N > 0).unsqueeze(1)
            vectors[name] = F.normalize(given.interest_ND + learned_NV, dim=1) * known_N1
        return vectors
