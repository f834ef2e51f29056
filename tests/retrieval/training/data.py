"""A tiny tower and tiny pinned tables to train it on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn

from roilake.pipelines.retrieval.config import GraphModelConfig, TrainingConfig
from roilake.pipelines.retrieval.feed.features import read_nodes
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.models.batch import FeatureSchema, ItemBatch, NodeFeatures, RequestBatch
from roilake.pipelines.retrieval.models.tower import TwinTower
from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, REQUEST_ROOTS, Layouts, RoiLayout
from roilake.pipelines.retrieval.training import Inputs, RetrievalTask, TrainingData
from roilake.training import Checkpoints, Context, Settings, train
from tests.retrieval.feed.data import DIM, WINDOW, write_items, write_nodes, write_requests, write_vectors

DAYS = [WINDOW + timedelta(days=7 * week) for week in range(3)]
REQUEST_LAYOUT = RoiLayout.of(({"user_query": 2, "query_user": 2},), REQUEST_ROOTS)
ITEM_LAYOUT = RoiLayout.of(({"item_user": 3},), ITEM_ROOTS)
TRAINING = TrainingConfig(batch_size=16, positives=3, candidates=12, checkpoint_every=3)


class TinyTower(nn.Module):
    """user + query + interest vector (requests); item + mean of its users (items), of sparse tables; dropout to catch
    random state."""

    embed = TwinTower.embed

    def __init__(self, schema: FeatureSchema, dropout: float = 0.0) -> None:
        super().__init__()
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(count, 8, sparse=True) for name, count in schema.num_nodes.items()}
        )
        self.interest = nn.Linear(schema.interest_dim, 8)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("calls", torch.zeros(1))

    def embed_requests(self, batch: RequestBatch, features: NodeFeatures) -> Tensor:
        if self.training:
            self.calls += 1
        query_BD = self.tables["query"](batch.query_B.clamp(min=0)) * (batch.query_B >= 0)[:, None]
        user_BD = self.tables["user"](batch.user_B) + self.interest(features["user"].interest_ND[batch.user_B])
        return self.dropout(user_BD + query_BD)

    def embed_items(self, batch: ItemBatch, features: NodeFeatures) -> Tensor:
        users_IKD = self.tables["user"](batch.neighbours_IS.clamp(min=0))
        return self.tables["item"](batch.item_I) + 0.3 * users_IKD.mean(dim=1)


def training_data(folder: Path, shards: int = 2) -> TrainingData:
    """Two train windows and one validation window, with uneven shards."""
    requests = [
        file
        for week, sizes in enumerate([(33, 21), (40, 47), (15, 9)])
        for file in write_requests(
            folder, sizes, shards=shards, layout=REQUEST_LAYOUT, as_of=DAYS[week], first=week * 500
        )
    ]
    nodes = write_nodes(folder)
    return TrainingData(
        requests=tuple(requests),
        items=tuple(write_items(folder, slots=ITEM_LAYOUT.size, as_of=as_of) for as_of in DAYS),
        nodes=(nodes,),
        vectors=tuple(write_vectors(folder, as_of) for as_of in DAYS),
        train=tuple(DAYS[:2]),
        validation=(DAYS[2],),
        vocabulary=Vocabulary.build(read_nodes([nodes])),
        layouts=Layouts(REQUEST_LAYOUT, ITEM_LAYOUT),
        shards=shards,
        interest_dim=DIM,
        seed=3,
    )


SETTINGS = Settings.of("tiny", 3, TRAINING, averaging=0.0, divide_gradients=True)


@dataclass(frozen=True)
class TinyTask(RetrievalTask):
    """A tiny tower in place of a model of the suite."""

    dropout: float = 0.0

    def model(self) -> TinyTower:
        torch.manual_seed(1)
        return TinyTower(self.inputs.schema, self.dropout)


def tiny(data: TrainingData, context: Context, dropout: float = 0.0, epochs: int = 3, **config: object) -> TinyTask:
    known = GraphModelConfig.model_validate({"kind": "no_graph", "learning_rate": 0.02, **config})
    return TinyTask(Inputs(data, TRAINING, context), "tiny", known, epochs, dropout=dropout)


def train_tiny(
    data: TrainingData, checkpoints: Path, context: Context, settings: Settings = SETTINGS
) -> dict[str, object]:
    """Train the tiny tower; a module-level function, for ranks import what they are sent by name."""
    task = tiny(data, context, epochs=2)
    model, progress = train(task, context, Checkpoints(checkpoints, "k"), settings)
    return {
        "losses": [point["loss"] for point in progress.curve],
        "validations": progress.validations,
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "rows": len(next(task.inputs.train.batches(0))[1].user_B),
        "workers": context.workers,
        "threads": torch.get_num_threads(),
    }
