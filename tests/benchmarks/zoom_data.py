"""A night of each data set up to its interest vectors, and its regions cut in any way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.retrieval import build_graph, build_requests, build_rois, embed_interests, ingest_events
from roilake.feed import files_of
from roilake.lake import Lake, check_folder
from roilake.pipelines.retrieval.config import RetrievalConfig, RoiConfig
from roilake.pipelines.retrieval.feed.features import read_nodes
from roilake.pipelines.retrieval.feed.vocabulary import Vocabulary
from roilake.pipelines.retrieval.graph import plan_windows
from roilake.pipelines.retrieval.histories import history_files
from roilake.pipelines.retrieval.roi import Layouts, Tables, item_events, request_events
from roilake.pipelines.retrieval.roi.build import plan_locally
from roilake.pipelines.retrieval.roi.cache import open_store, store_files
from roilake.pipelines.retrieval.roi.rows import ORDER
from roilake.pipelines.retrieval.roi.sampling import Sampling
from roilake.pipelines.retrieval.seen import SeenRule
from roilake.pipelines.retrieval.training import TrainingData
from tests.benchmarks.zoom_curves import Judge

GRAPH = {
    "request": ("user_query", "user_item", "query_item", "query_user"),
    "item": ("item_user", "item_query", "item_item"),
}
TEST = 3


@dataclass(frozen=True)
class Cut:
    """How regions are cut: the sampler, the fan-out of each edge type, and which edge types: those of the night's
    config (``own``) or all that start at a request's user and query (``graph``)."""

    sampler: str
    fanout: int
    edges: str

    def __str__(self) -> str:
        return f"{self.sampler} {self.fanout} {self.edges}"


@dataclass
class Night:
    """A lake with a night's tables up to its interest vectors, judged by at most ``requests``."""

    name: str
    lake: Lake
    config: RetrievalConfig
    ds: date
    requests: int
    _judge: Judge | None = None

    def config_of(self, cut: Cut) -> RetrievalConfig:
        """The night's config with regions cut in this way, one hop deep."""
        own, sides = self.config.roi, {}
        for side in ("request", "item"):
            hops = getattr(own, f"{side}_hops")
            kinds = GRAPH[side] if cut.edges == "graph" else tuple(hops[0]) if hops else ()
            sides[f"{side}_hops"] = [dict.fromkeys(kinds, cut.fanout)] if kinds else []
        roi = RoiConfig.model_validate({**own.model_dump(), **sides, "sampler": cut.sampler})
        return self.config.model_copy(update={"roi": roi})

    def cut(self, cut: Cut) -> tuple[TrainingData, float]:
        """The night's regions, and how long one core needs for those of its train windows."""
        config = self.config_of(cut)
        build_rois.run(self.lake, config, self.ds)
        self._judge = None
        self._data = self._pinned(config)
        return self._data, self._cutting_seconds(config)

    def judge(self) -> Judge:
        """The requests are the same whatever the cut, their regions are those of the last one."""
        if self._judge is None:
            windows = tuple(w.as_of for w in plan_windows(self.config.windows, self.ds, None) if w.split == "test")
            adjacency = self.lake.active_files("adjacency", ds=self.ds)
            self._judge = Judge(self._data, self.config, windows, self.requests, adjacency, drop_seen=self.drop_seen)
        return self._judge

    @cached_property
    def drop_seen(self) -> bool:
        """Whether the night leaves out what users had before."""
        rois = self.lake.active_files("rois", ds=self.ds)
        return SeenRule.of(self.config.evaluation.seen, rois).drop

    def _pinned(self, config: RetrievalConfig) -> TrainingData:
        lake, ds = self.lake, self.ds
        files = {t: files_of(lake, t, lake.version(t), ds=ds) for t in ("rois", "nodes", "interest_vectors")}
        rois = [file for file in files["rois"] if file.rows]
        windows = plan_windows(config.windows, ds, None)
        return TrainingData(
            requests=tuple(file for file in rois if file.partition["side"] == "request"),
            items=tuple(file for file in rois if file.partition["side"] == "item"),
            nodes=files["nodes"],
            vectors=files["interest_vectors"],
            train=tuple(window.as_of for window in windows if window.split == "train"),
            validation=tuple(window.as_of for window in windows if window.split == "validation"),
            vocabulary=Vocabulary.build(read_nodes(files["nodes"]), None),
            layouts=Layouts.of(config.roi),
            shards=config.roi.shards,
            interest_dim=config.interest.dim,
            seed=config.seed,
            histories=history_files(lake, lake.version("histories"), ds),
            max_events=config.history.max_events,
        )

    def _cutting_seconds(self, config: RetrievalConfig) -> float:
        """As a task of the local plan does it, without Spark; stores are laid out before."""
        lake, ds = self.lake, self.ds
        train = [window.as_of for window in plan_windows(config.windows, ds, None) if window.split == "train"]
        versions = Tables(*map(lake.version, Tables._fields))
        files = [files_of(lake, table, getattr(versions, table), ds=ds) for table in ("adjacency", "interest_vectors")]
        stores = store_files(train, *files)
        trees, known = Sampling.of(config, config.roi.weights), history_files(lake, versions.histories, ds)
        requests = lake.read("requests").where((F.col("ds") == F.lit(ds)) & F.col("as_of").isin(train))
        nodes = lake.read("nodes").where(F.col("ds") == F.lit(ds))
        parts = [
            request_events(requests, config.roi.shards).sort(*ORDER).toArrow(),
            item_events(nodes, train).sort(*ORDER).toArrow(),
        ]
        plan = plan_locally(lake.spark.range(0), trees, stores, known)
        for as_of in train:
            open_store(stores[as_of])
        began = time.perf_counter()
        for part in parts:
            for _ in plan.finish(part):
                pass
        return time.perf_counter() - began


def prepare(spark: SparkSession, folder: Path, config: RetrievalConfig, requests: int) -> Night:
    """The night of the config's own date, up to its interest vectors, with ``TEST`` windows to judge by."""
    config = config.model_copy(update={"windows": config.windows.model_copy(update={"test": TEST})})
    lake, ds = Lake.open(spark, check_folder(folder, create=True), create=True), config.default_ds
    assert ds is not None
    for job in (ingest_events, build_graph, build_requests, embed_interests):
        job.run(lake, config, ds)
    return Night(config.name, lake, config, ds, requests)
