"""One request's region of interest with the weights that a published model gave it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from roilake.errors import LakeError
from roilake.feed import files_of
from roilake.lake import Lake, Publication, check_folder
from roilake.metrics.champion import champion_of
from roilake.pipelines.retrieval.config import RelevanceWeights, RoiConfig
from roilake.pipelines.retrieval.explain.neighbours import Names, kept_neighbours
from roilake.pipelines.retrieval.feed.rows import RequestRows
from roilake.pipelines.retrieval.histories import history_files
from roilake.pipelines.retrieval.models.attention import Attention
from roilake.pipelines.retrieval.models.zoomer import Model as Zoomer
from roilake.pipelines.retrieval.roi import Layouts, RoiLayout
from roilake.pipelines.retrieval.scoring.pinned import Night, Tower
from roilake.pipelines.retrieval.scoring.towers import Worker
from roilake.reading import read


@dataclass(frozen=True)
class Explanation:
    """A request that a night answered, as a model of kind ``zoomer`` saw it.

    ``neighbours`` has one row per kept neighbour, hop by hop: those of ``kept_neighbours``, and

    * attention: edge-level weight; sums to 1 over a parent's neighbours of one edge type;
    * relation: semantic-level weight of the edge type at the parent;
    * share: product of both from the root down to the neighbour. Of what the attention of a root's tree hands out
      (1 in all), this much comes by this neighbour and what lies below it.

    ``relations`` has one row per parent and relation (``own``, or an edge type): path, parent, relation, weight. The
    weights of a parent sum to 1; those of edge types without a neighbour go to nothing."""

    lake: Path
    ds: date
    model: str
    user: str
    query: str | None
    roi: RoiConfig
    names: Names
    neighbours: pd.DataFrame
    relations: pd.DataFrame

    @property
    def as_of(self) -> date:
        """The instant of the request's graph: the end of the night."""
        return self.ds + timedelta(days=1)


def explain_request(
    user: str,
    query: str | None = None,
    *,
    lake: str | Path = "./lake",
    ds: date | str | None = None,
    model: str | None = None,
) -> Explanation:
    """What ``model`` attended to when the published night ``ds`` (default: the last one) answered ``user`` with
    ``query``; by default it is the model that serves or, where that has no attention, the night's first of kind zoomer.
    No Spark: opens the published weights.

    Raises LakeError for a request that the night did not answer, or a model that the night does not have or that has no
    attention to show."""
    opened = Lake(None, check_folder(lake, create=False))
    night = _publication(opened, ds)
    config = json.loads(night.config)
    roi, name = RoiConfig.model_validate(config["roi"]), model or _attentive(config, champion_of(opened, night).model)
    names = Names.read(opened.folder, night.ds)
    layout = Layouts.of(roi).request
    row = _request(opened.folder, night.ds, names, user, query)
    attention = _attention(_night(opened, night, roi, config), _tower(opened, night.ds, name), night.ds, row)
    neighbours = kept_neighbours(layout, row, names, _weights(opened.folder, night.ds))
    weighed = _weighed(layout, attention)
    return Explanation(
        opened.folder, night.ds, name, user, query, roi, names,
        neighbours.join(weighed, on="entry"), _relations(layout, attention, neighbours, names, row),
    )  # fmt: skip


def _attentive(config: dict[str, Any], served: str) -> str:
    """The model to look at: the one that serves, unless another one alone has attention to show."""
    kinds = {name: model["kind"] for name, model in config["models"].items()}
    return next((name for name in (served, *kinds) if kinds.get(name) == "zoomer"), served)


def _publication(lake: Lake, ds: date | str | None) -> Publication:
    """The retrieval night ``ds``, or the last one."""
    found = read("publications", lake=lake.folder, ds=ds, pipeline="retrieval", columns=["ds"])
    night = lake.publication("retrieval", ds=found["ds"][0])
    assert night is not None
    return night


def _request(lake: Path, ds: date, names: Names, user: str, query: str | None) -> dict[str, Any]:
    """The request's row of ``rois``."""
    where = {
        "side": "request",
        "split": "serve",
        "as_of": ds + timedelta(days=1),
        "user": names.id_of("user", user),
        "query": -1 if query is None else names.id_of("query", query),
    }
    rows = read("rois", lake=lake, ds=ds, where=where)
    if rows.empty:
        raise LakeError(
            f"rois: night {ds} answered no request of user {user!r} with query {query!r}; those that it did answer are "
            "in recommendations"
        )
    found: dict[str, Any] = rows.to_dict("records")[0]
    return found


def _weights(lake: Path, ds: date) -> RelevanceWeights:
    """Those that the night's regions were cut by, learnt ones included."""
    run = read("runs", lake=lake, ds=ds, pipeline="retrieval", where={"step": "build_rois"}, columns=["details"])
    return RelevanceWeights.model_validate(json.loads(run["details"][0])["weights"])


def _night(lake: Lake, night: Publication, roi: RoiConfig, config: dict[str, Any]) -> Night:
    """The pinned files that a model needs to be opened."""
    return Night(
        towers=(),
        shards=(),
        nodes=files_of(lake, "nodes", night.versions["nodes"], ds=night.ds),
        vectors=files_of(lake, "interest_vectors", night.versions["interest_vectors"], ds=night.ds),
        layouts=Layouts.of(roi),
        interest_dim=config["interest"]["dim"],
        histories=history_files(lake, night.versions["histories"], night.ds),
        max_events=config["history"]["max_events"],
    )


def _tower(lake: Lake, ds: date, name: str) -> Tower:
    rows = read("models", lake=lake.folder, ds=ds, pipeline="retrieval").set_index("name")
    if name not in rows.index:
        raise LakeError(f"models: night {ds} has no model {name!r}; it has {', '.join(rows.index)}")
    row = rows.loc[name]
    config = json.loads(row["config"])
    if config["kind"] != "zoomer":
        raise LakeError(f"models: {name!r} is a {config['kind']}, which has no attention to show; name a zoomer")
    return Tower(name, config["kind"], config["options"], str(lake.files.local(row["path"])))


@torch.inference_mode()
def _attention(night: Night, tower: Tower, ds: date, row: dict[str, Any]) -> list[Attention]:
    worker = Worker(night)
    features = worker.store(tower).features(ds + timedelta(days=1))
    rows = worker.with_histories(tower, _rows(night.layouts.request, row))
    return cast(Zoomer, worker.open(tower)).attention(rows.batch(np.zeros(1, np.int64)), features)


def _rows(layout: RoiLayout, row: dict[str, Any]) -> RequestRows:
    """This one request, and the padding row."""

    def padded(value: Any, dtype: type) -> NDArray[Any]:
        own: NDArray[Any] = np.asarray(value, dtype)
        return np.stack([own, np.full_like(own, -1)])

    return RequestRows(
        root_R=padded(row["root"], np.int64),
        user_R=padded(row["user"], np.int32),
        query_R=padded(row["query"], np.int32),
        neighbours_RS=padded(row["neighbours"], np.int32),
        relevance_RS=padded(row["relevance"], np.int8),
        linked_RH=padded(row["linked"], np.int8),
        ages_RH=padded(row["ages"], np.int8),
        time_R=padded(row["time"].value // 1000, np.int64),
        history_RL=np.empty((2, 0), np.int32),
        positives_RP=np.full((2, 1), -1, np.int32),
        entry_H=layout.entry_H,
    )


def _weighed(layout: RoiLayout, attention: list[Attention]) -> pd.DataFrame:
    """attention, relation and share of each entry [S]."""
    attention_S, relation_S = np.zeros(layout.size), np.zeros(layout.size)
    for seen in attention:
        for relation, (slot, weight_BPk) in enumerate(zip(seen.slots, seen.edge, strict=True), start=1):
            span = slice(slot.start, slot.start + slot.size)
            attention_S[span] = weight_BPk[0].flatten()
            relation_S[span] = seen.semantic_BPR[0, :, relation].repeat_interleave(slot.fanout)
    share_S = attention_S * relation_S
    for slot in layout.slots:  # parents come before their children
        if slot.parent is not None:
            above = layout.slots[slot.parent]
            of_parent = share_S[above.start : above.start + above.size].repeat(slot.fanout)
            share_S[slot.start : slot.start + slot.size] *= of_parent
    return pd.DataFrame({"attention": attention_S, "relation": relation_S, "share": share_S})


def _relations(
    layout: RoiLayout, attention: list[Attention], neighbours: pd.DataFrame, names: Names, row: dict[str, Any]
) -> pd.DataFrame:
    """``Explanation.relations``; parents that are only padding are left out. A root below which the config keeps no
    neighbours is all its own."""
    keys: dict[int, str] = dict(zip(neighbours["entry"], neighbours["neighbour"], strict=True))
    above_some = {slot.root for slot in layout.slots}
    bare = [root for number, root in enumerate(layout.roots) if number not in above_some]
    found: list[tuple[str, str, str, float]] = [
        (root, key, "own", 1.0) for root in bare if (key := names.key_of(root, row[root])) is not None
    ]
    for seen in attention:
        first = seen.slots[0]
        root, above = layout.roots[first.root], None if first.parent is None else layout.slots[first.parent]
        for position, weight_R in enumerate(seen.semantic_BPR[0].tolist()):
            parent = keys.get(above.start + position) if above else names.key_of(root, row[root])
            if parent is not None:
                path = above.name if above else root
                kinds = ["own", *(slot.edge_type for slot in seen.slots)]
                found += [(path, parent, kind, w) for kind, w in zip(kinds, weight_R, strict=True)]
    return pd.DataFrame(found, columns=["path", "parent", "relation", "weight"])
