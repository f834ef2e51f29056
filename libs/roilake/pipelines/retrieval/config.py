"""What a night of graph models does.

Mapped columns are Spark SQL expressions over the columns of the source, so pointing at new data takes no code:
``time: timestamp_seconds(timestamp)`` or ``user: "`user_id:token`"`` (backticks quote odd names).
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from roilake.config.base import (
    ContestConfig,
    Fraction,
    IntakeConfig,
    ModelConfig,
    ModelName,
    Positive,
    Rate,
    RowSource,
    Strict,
    TrainerConfig,
)
from roilake.errors import MetricError
from roilake.metrics.registry import Metric, parse
from roilake.metrics.slices import delta_vs_default
from roilake.pipelines.retrieval.metrics import OWN, SLICES

EdgeType = Literal[
    "user_query", "query_user", "user_item", "item_user", "query_item", "item_query",
    "item_item", "item_item_similar", "query_item_similar", "item_query_similar", "user_item_recent",
    "item_item_known",
]  # fmt: skip
NODE_TYPES = ("user", "query", "item")
EDGE_TYPES: tuple[str, ...] = get_args(EdgeType)
Hops = tuple[dict[EdgeType, Positive], ...]


class EventColumns(Strict):
    """SQL expressions that make an event of a source row; a null user, item or time sends the row to quarantine.
    Without ``event_id``, an event is what its time, user, query, item, type and session say, and a number among equal
    ones."""

    user: str
    item: str
    time: str
    query: str | None = None
    event_id: str | None = None
    event_type: str = "'interaction'"
    value: str = "1.0"
    session: str | None = None  # default: a gap of ``session_gap_minutes`` starts a new one


class EventSource(RowSource):
    columns: EventColumns


class AttributeSource(RowSource):
    """Attributes of one node type: ``key`` is the node's key; ``fields`` are categories; ``terms`` is a text to learn
    from; ``title`` is what readers are shown beside the key."""

    key: str
    fields: dict[str, str] = {}
    terms: str | None = None
    title: str | None = None


class SourceConfig(IntakeConfig):
    events: EventSource
    users: AttributeSource | None = None
    items: AttributeSource | None = None
    queries: AttributeSource | None = None
    query_of_item: str | None = None
    """An SQL expression over the *items* source that gives an array of strings (e.g. a movie's genres). An event
    without a query then takes one of its item's entries, drawn by a keyed hash of the event id."""
    session_gap_minutes: Positive = 30
    minimum_coverage: Fraction = 0.5
    """Share of the users, items or queries of the events that their source must describe, where there is one."""


_MOST_DAYS = 36_525


class WindowsConfig(Strict):
    """Time is cut into windows of equal length that end with the night: the last ``test`` ones are for evaluation, the
    ``validation`` ones before select the epoch, the ``train`` ones before those are learnt from. The graph, the ROI
    and the interest vectors of a window are those of its start (``as_of``)."""

    length: Annotated[str, Field(pattern=r"^[1-9]\d*(d|mo)$")] = "7d"
    train: Positive = 12
    validation: Positive = 1
    test: Positive = 1

    @model_validator(mode="after")
    def _reach_back_no_further_than_dates(self) -> WindowsConfig:
        number, unit = (self.length[:-1], 1) if self.length.endswith("d") else (self.length[:-2], 31)
        count = self.train + self.validation + self.test
        if len(number) > 9 or int(number) * unit * count > _MOST_DAYS:
            raise ValueError(f"{count} windows of {self.length[:20]} reach back over more than 100 years; take fewer")
        return self


class SimilarityConfig(Strict):
    """MinHash-estimated Jaccard similarity over terms (our defaults; the paper's are not known)."""

    edge_types: tuple[Literal["item_item_similar", "query_item_similar"], ...] = ("item_item_similar",)
    min_jaccard: Fraction = 0.3
    top: Positive = 10
    hash_tables: Positive = 5


class PredictedLabels(Strict):
    """Labels that pipeline ``node_labels`` published in the same lake before the first window of this night, as
    ``field`` of the nodes that it labels: the one that is known of a node, else the predicted one where its probability
    is at least ``least``. (A later night's predictions have seen what models are trained and evaluated on.)"""

    field: str
    least: Fraction = 0.8


class PublishedFacts(Strict):
    """Facts that pipeline ``knowledge_graph`` published in the same lake up to this night: known ones, and new ones
    that are at least as probable as ``least``. They say what items are, not what anybody did, so that all windows may
    know them. Items that share an entity, or are in one fact, are neighbours by ``item_item_known``: the ``top`` ones
    of each. An entity that more than ``most_items`` items share joins none. ``vectors``: so many principal coordinates
    of the entities' vectors are features of items; 0: none. ``relations``: those that count; None: all."""

    least: Fraction = 0.5
    relations: tuple[str, ...] | None = None
    top: Positive = 10
    most_items: Annotated[int, Field(ge=2)] = 200
    vectors: Annotated[int, Field(ge=0, le=1024)] = 32


class GraphConfig(Strict):
    labels: PredictedLabels | None = None
    facts: PublishedFacts | None = None
    half_life_days: Rate = 180.0
    max_neighbours: Positive = 50
    edges: bool = True
    """Publish ``edges``: every pair, both ways, with its times. Without it a graph has ``adjacency`` only, and its
    pairs need a fifth of the disk."""
    similarity: SimilarityConfig | None = SimilarityConfig()


class InterestConfig(Strict):
    dim: Positive = 32
    degree_exponent: Fraction = 0.25


class HistoryConfig(Strict):
    """A request's history: its user's newest ``max_events`` events before its time."""

    max_events: Positive = 200


RELEVANCE = "relevance.json"
"""In a model's folder: the ``RelevanceWeights`` that it has learnt."""


class RelevanceWeights(Strict):
    """What a neighbour of a request's history counts for: its likeness to the focal (Tanimoto), whether it is linked to
    the query (0 or 1), and how recent it is (1 for now, less by 1/32 with each doubling of its age in seconds)."""

    likeness: float = 0.25
    linked: float = 1.0
    recency: float = 1.0


class RoiConfig(Strict):
    """``request_hops[h]`` and ``item_hops[h]`` give the fan-out of each edge type at hop h + 1. ``user_item`` and
    ``user_query`` below a request's user are cut from his history by ``weights``, or with ``relevance: learned`` by
    those that the last published model has learnt; ``user_item_recent`` are the newest items of his history."""

    relevance: Literal["fixed", "learned"] = "fixed"
    weights: RelevanceWeights = RelevanceWeights()
    sampler: Literal["roi", "weighted", "uniform"] = "roi"
    plan: Literal["auto", "local", "shuffled"] = "auto"
    request_hops: Hops = ({"user_item": 10, "user_item_recent": 10},)
    item_hops: Hops = ({"item_user": 10},)
    shards: Positive = 2


class GraphModelConfig(ModelConfig):
    """A model of ``retrieval.models``."""

    loss: Literal["softmax", "focal"] = "softmax"


class TrainingConfig(TrainerConfig):
    epochs: Positive = 3
    warm_epochs: Positive = 1
    batch_size: Positive = 512
    positives: Positive = 4
    candidates: Positive = 1024
    learning_rate: Rate = 5e-3
    averaging: Fraction = 0.97
    """Models are evaluated and kept with an exponential average of their weights over steps; 0 keeps the last ones."""


class ScoringConfig(Strict):
    """``index``: how items are ranked for recommendations, by all of them or approximately by an inverted file (FAISS
    IVF), whose recall the job then measures. ``rank_by``: the model's ``top_k`` best items come in the order of its
    score, or of expected conversions pctr * pcvr, which a published night of the conversion pipeline then must give.
    Metrics are always of the exact order by score."""

    top_k: Positive = 200
    rank_by: Literal["score", "pctcvr"] = "score"
    lookback_days: Positive = 1
    index: Literal["exact", "ivf"] = "exact"


class SliceConfig(Strict):
    """Slices by the values of a ``field`` of users, items or queries (the ``values`` most frequent ones, the rest is
    ``other``), by the number of the user's events before the window, by the day of the positive, or by the edge types
    that linked it to the request."""

    by: Literal["user", "item", "query", "activity", "day", "edge_type"]
    field: str | None = None
    values: Positive = 10

    @model_validator(mode="after")
    def _field_fits(self) -> SliceConfig:
        if (self.field is not None) != (self.by in ("user", "item", "query")):
            raise ValueError(f"by: {self.by} {'takes no' if self.field else 'needs a'} field")
        return self


class EvaluationConfig(Strict):
    """``metrics`` are names as in ``roilake.metrics.registry``; ``slices`` add to those of every night.

    ``seen``: whether items that a user had before a request count like others (``keep``) or are left out (``drop``) of
    its positives, negatives, ranks, lists and recommendations and of the validation of epochs, for all models alike;
    ``auto`` drops where under 1 % of the positives of the night's past windows are such items."""

    seen: Literal["auto", "keep", "drop"] = "auto"
    negatives: Positive = 50
    metrics: tuple[str, ...] = (
        "auc", "auc_popularity_negatives", "auc_in_query", "gauc", "pr_auc", "log_loss", "calibration_error",
        "hit_rate@50", "hit_rate@100", "hit_rate@200", "ndcg@20", "recall@20", "mrr", "coverage@20", "novelty@20",
        "diversity@20", "popularity_bias@20",
    )  # fmt: skip
    slices: dict[Annotated[str, Field(pattern=r"^\w+$")], SliceConfig] = {}
    max_requests: Positive | None = None
    bootstrap: Positive = 200

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _metric(name)
        return names

    @property
    def list_length(self) -> int:
        """How many of the best items a metric of whole lists looks at, at most; 0 without such a metric."""
        found = [parse(name, OWN) for name in self.metrics]
        return max((k for metric, k in found if metric.inputs == "lists" and k), default=0)


def _metric(name: str) -> Metric:
    """The metric of that name. Raises ValueError."""
    try:
        return parse(name, OWN)[0]
    except MetricError as error:
        raise ValueError(str(error)) from error


class RetrievalConfig(ContestConfig):
    """All that one night needs beside its ``ds`` and its lake.

    ``default_model: best`` is the model that the validation split prefers by metric ``best_by``. It keeps its place
    until another one is better by more than their paired interval (see ``roilake.metrics.champion``)."""

    pipeline: Literal["retrieval"]
    best_by: str = "ndcg@20"
    source: SourceConfig
    windows: WindowsConfig = WindowsConfig()
    graph: GraphConfig = GraphConfig()
    interest: InterestConfig = InterestConfig()
    history: HistoryConfig = HistoryConfig()
    roi: RoiConfig = RoiConfig()
    models: dict[ModelName, GraphModelConfig]
    training: TrainingConfig = TrainingConfig()
    scoring: ScoringConfig = ScoringConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("best_by")
    @classmethod
    def _chooses(cls, name: str) -> str:
        metric = _metric(name)
        if not metric.direction or metric.inputs == "probabilities":
            raise ValueError(f"{name} cannot choose a model on validation; name a metric of scores or ranks")
        return name

    @property
    def evaluated(self) -> tuple[str, ...]:
        return tuple(self.models)

    @property
    def upstreams(self) -> dict[str, bool]:
        labels = {"node_labels": False} if self.graph.labels else {}
        facts = {"knowledge_graph": True} if self.graph.facts else {}
        return {"conversion": self.scoring.rank_by == "pctcvr", **labels, **facts}

    def check(self) -> None:
        """Raises ConfigError for a model's unknown kind or option, hops that lead nowhere, and what reads a table
        ``edges`` that the night does not write."""
        from roilake.pipelines.retrieval.config_checks import check  # needs torch, which takes seconds to import

        check(self)

    @model_validator(mode="after")
    def _shards_divide(self) -> RetrievalConfig:
        batch, shards, workers = self.training.batch_size, self.roi.shards, self.training.workers
        if batch % shards or shards % workers:
            raise ValueError(
                f"training.batch_size ({batch}) must be a multiple of roi.shards ({shards}), and that of "
                f"training.workers ({workers}): change one of them"
            )
        return self

    @model_validator(mode="after")
    def _slices_have_fields(self) -> RetrievalConfig:
        for name, cut in self.evaluation.slices.items():
            source = {"user": self.source.users, "item": self.source.items, "query": self.source.queries}.get(cut.by)
            known = source.fields if source else {}
            if cut.field is not None and cut.field not in known:
                raise ValueError(
                    f"evaluation.slices.{name}: {cut.by} has no field {cut.field!r}, source maps "
                    f"{', '.join(known) or 'none'}; choose one of these or map it"
                )
        return self

    def measured(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Slices by metric by split: probabilities and the config's own slices in split ``test`` only."""
        own = tuple(f"{name}=VALUE" for name in self.evaluation.slices)
        slices, all_slices = ((*names, *map(delta_vs_default, names)) for names in (SLICES, (*SLICES, *own)))
        metrics = {name: parse(name, OWN)[0] for name in self.evaluation.metrics}
        raw = [name for name, metric in metrics.items() if metric.inputs != "probabilities"]
        return {"validation": dict.fromkeys(raw, slices), "test": dict.fromkeys(metrics, all_slices)}
