"""What a night of conversion models does: impressions, clicks, conversions, and who is judged on what.

All columns are Spark SQL expressions over the rows of the source, so pointing at new data takes no code.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from roilake.config.base import FileSource, Fraction, ModelConfig, NightConfig, Positive, Rate, Strict
from roilake.metrics.names import CONVERSION, IMPRESSION, direction

Name = Annotated[str, Field(pattern=r"^[a-z]\w*$")]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class ImpressionColumns(Strict):
    """SQL expressions that make an impression of a source row. A row that breaks the contract (a conversion without a
    click, a label that is neither 0 nor 1, a negative delay, a propensity or sampling rate outside (0, 1]) goes to
    quarantine with its reason."""

    user: str
    item: str
    click: str
    conversion: str
    time: str | None = None  # default: the start of the night; then split by hash
    impression_id: str | None = None  # default: a hash of the whole row
    delay_seconds: str | None = None  # from impression to conversion; null without a conversion
    sampling_rate: str = "1.0"  # probability with which the log kept such a row
    propensity: str | None = None  # logged probability of the click (or of the exposure), where known


class ImpressionSource(Strict):
    """Files by name, and the SQL that makes one row per impression of them (the one file's rows by default)."""

    files: dict[Name, FileSource]
    rows: str | None = None
    columns: ImpressionColumns

    @model_validator(mode="after")
    def _rows_are_told(self) -> ImpressionSource:
        if not self.files or (len(self.files) > 1 and self.rows is None):
            raise ValueError("rows: say by a SELECT over the files how they make impressions")
        return self


class FieldColumns(Strict):
    """Categories by name, beside the ids of user and item; a null is a missing value."""

    user: dict[Name, str] = {}
    item: dict[Name, str] = {}
    context: dict[Name, str] = {}


class RatingsSource(FileSource):
    """Ratings that a truth is fitted to."""

    user: str
    item: str
    rating: str


class TruthConfig(Strict):
    """A generated log whose conversion probabilities are known for every pair; see ``conversion.impressions.truth``."""

    ratings: RatingsSource
    impressions: Positive = 150_000
    click_rate: Share = 0.07
    conversion_rate: Share = 0.05  # over all pairs
    click_affinity: float = (
        0.5  # weight of the conversion's own score in the click's: below 0, clicks are bait
    )
    click_popularity: Annotated[float, Field(ge=0)] = 0.5
    click_noise: Annotated[float, Field(ge=0)] = 0.5
    hidden_cause: Annotated[float, Field(ge=0)] = 0.0  # weight in both of a cause that no feature shows
    start: str = "1998-03-01"  # day of the first impression
    days: Positive = 28
    mean_delay_hours: Rate = 6.0
    random_pairs: Positive = 50_000  # pairs drawn at random, whose probabilities the evaluator knows


class SplitConfig(Strict):
    """By ``time``, ``test`` and ``validation`` are days: the last ones of the night. By ``hash``, they are shares of
    the impressions, drawn by keyed hash of the impression's id. The rest is learnt from."""

    by: Literal["time", "hash"] = "time"
    validation: Rate = 3
    test: Annotated[float, Field(ge=0)] = 3

    @model_validator(mode="after")
    def _fits(self) -> SplitConfig:
        if self.by == "hash" and self.validation + self.test >= 1:
            raise ValueError("by hash, validation and test are shares and must leave something to learn from")
        if self.by == "time" and (self.validation % 1 or self.test % 1):
            raise ValueError("by time, validation and test are whole days")
        return self


class ImpressionsConfig(Strict):
    """Where impressions come from. ``unbiased`` holds pairs that were shown at random, with their conversions: nobody
    learns from them, all are judged on them. A night reads the last ``days`` days (all without it), and leaves out the
    last ``maturity_hours``, whose conversions may still come."""

    source: ImpressionSource | None = None
    unbiased: ImpressionSource | None = None
    truth: TruthConfig | None = None
    fields: FieldColumns = FieldColumns()
    days: Positive | None = None
    maturity_hours: Annotated[float, Field(ge=0)] = 0.0
    split: SplitConfig = SplitConfig()
    shards: Positive = 2
    quarantine_budget: Fraction = 0.01

    @model_validator(mode="after")
    def _one_source(self) -> ImpressionsConfig:
        if (self.source is None) == (self.truth is None):
            raise ValueError("name either a source or a truth to generate from, not both")
        if self.source and self.source.columns.time is None and self.split.by == "time":
            raise ValueError("split.by: time needs source.columns.time; map it or split by hash")
        return self


class GraphVectors(Strict):
    """User and item vectors of a model that the lake at ``lake`` published before the first impression learnt from."""

    lake: str
    model: str = "zoomer"


class ConversionModelConfig(ModelConfig):
    """A model of ``conversion.models``. ``teacher`` names one of the night's teachers or ensembles, for kinds
    that learn from pseudo-labels; ``steps`` and ``keep`` are those of ``training`` unless set here."""

    teacher: str | None = None
    steps: Positive | None = None
    keep: Literal["best", "last"] | None = None


_MEMBERS = ("naive", "base", "esmm", "escm2_ipw", "escm2_dr", "dcmt", "ddpo")
SUITE: dict[str, Any] = {
    "teachers": {kind: {"kind": kind} for kind in _MEMBERS},
    "ensembles": {"ensemble": list(_MEMBERS)},
    "models": {
        "ukd": {
            "kind": "ukd", "teacher": "ensemble", "options": {"alpha": 16.0}, "steps": 800, "keep": "last"
        }
    },
}  # fmt: skip
"""Who a night has that names no teachers, ensembles and models."""


class EmbeddingConfig(Strict):
    """A field of at most ``rows`` values in the train split has a row for each; the values of a larger one share
    ``rows`` rows by hash. So the memory of a model is bounded whatever the log."""

    rows: Positive = 1 << 18


class ConversionTrainingConfig(Strict):
    """Every step takes ``clicks`` clicked and ``impressions`` unclicked rows, over all workers. The step of the best
    AUC on the clicks of the validation split is kept; ``steps`` without an early stop: ``keep: last``."""

    workers: Positive = 2
    steps: Positive = 400
    clicks: Positive = 256
    impressions: Positive = 1024
    learning_rate: Rate = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    validate_every: Positive = 25
    keep: Literal["best", "last"] = "best"
    checkpoint_every: Positive = 200
    graph: GraphVectors | None = None
    embeddings: EmbeddingConfig = EmbeddingConfig()


class ConversionEvaluationConfig(Strict):
    """About ``max_impressions`` of each split are judged at most, so that the driver's memory is bounded."""

    bootstrap: Positive = 200
    max_impressions: Positive | None = 2_000_000


class ConversionConfig(NightConfig):
    """All that one night of conversion models needs beside its ``ds`` and its lake. Without teachers, ensembles and
    models it has those of ``SUITE``."""

    night: Literal["conversions"]
    default_model: str = "ukd"
    impressions: ImpressionsConfig
    teachers: dict[Name, ConversionModelConfig] = {}
    ensembles: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2)]] = {}
    """Teachers that speak as one; see ``conversion.models.ensemble``."""
    models: dict[Name, ConversionModelConfig]
    training: ConversionTrainingConfig = ConversionTrainingConfig()
    evaluation: ConversionEvaluationConfig = ConversionEvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _suite(cls, tree: Any) -> Any:
        return tree if not isinstance(tree, dict) or SUITE.keys() & tree.keys() else {**tree, **SUITE}

    @field_validator("models")
    @classmethod
    def _some(cls, models: dict[str, ConversionModelConfig]) -> dict[str, ConversionModelConfig]:
        if not models:
            raise ValueError("name at least one model")
        return models

    @model_validator(mode="after")
    def _workers_divide(self) -> ConversionConfig:
        training, shards = self.training, self.impressions.shards
        for name in ("clicks", "impressions"):
            if getattr(training, name) % shards:
                raise ValueError(
                    f"training.{name} must be a multiple of impressions.shards ({shards}): change one"
                )
        if shards % training.workers:
            raise ValueError(
                f"impressions.shards ({shards}) must be a multiple of training.workers ({training.workers}): change one"
            )
        return self

    @model_validator(mode="after")
    def _names_are_there(self) -> ConversionConfig:
        if self.default_model not in self.models:
            raise ValueError(
                f"default_model: {self.default_model!r} is not among the models ({', '.join(self.models)}); "
                "add it or name one"
            )
        for name, model in self.models.items():
            if model.teacher is not None and model.teacher not in (*self.teachers, *self.ensembles):
                known = ", ".join((*self.teachers, *self.ensembles)) or "none"
                raise ValueError(f"models.{name}.teacher: no teacher {model.teacher!r}; teachers are {known}")
        return self

    @model_validator(mode="after")
    def _members_are_teachers(self) -> ConversionConfig:
        for name, members in self.ensembles.items():
            strangers = [member for member in members if member not in self.teachers]
            if strangers or name in self.teachers:
                problem = f"{strangers[0]!r} is no teacher" if strangers else "is the name of a teacher, too"
                known = ", ".join(self.teachers) or "none"
                raise ValueError(f"ensembles.{name}: {problem}; teachers are {known}")
        return self

    @property
    def judged(self) -> tuple[str, ...]:
        """Names of all that is judged: models, then teachers."""
        return (*self.models, *self.teachers)

    @property
    def heard(self) -> tuple[str, ...]:
        """Teachers and ensembles that a model listens to."""
        return tuple(sorted({model.teacher for model in self.models.values() if model.teacher}))

    @model_validator(mode="after")
    def _gates_name_what_there_is(self) -> ConversionConfig:
        for place, bound in enumerate(self.gates.bounds):
            where = self._measured(bound.split)
            slices = where.get(bound.metric, ())
            known = {
                "model": (bound.model or "all", (*self.judged, "all")),
                "split": (
                    bound.split,
                    tuple(name for name in ("validation", "test", "unbiased") if self._measured(name)),
                ),
                "metric": (bound.metric, tuple(where)),
                "slice": (bound.slice, slices),
            }
            for key, (name, names) in known.items():
                if name not in names:
                    raise ValueError(
                        f"gates.bounds.{place}.{key}: the night has no {key} {name!r} of {bound.metric} on split "
                        f"{bound.split}; there are {', '.join(names)}"
                    )
            if bound.not_worse_than and not direction(bound.metric):
                raise ValueError(
                    f"gates.bounds.{place}.not_worse_than: {bound.metric} has no better side; set a minimum or maximum"
                )
        return self

    def _measured(self, split: str) -> dict[str, tuple[str, ...]]:
        """Slices by metric, of a split."""
        minus = f"delta_vs_{self.default_model}"
        found: dict[str, tuple[str, ...]] = {}
        if split != "unbiased":
            found |= dict.fromkeys(CONVERSION, ("clicked", minus))
            found |= dict.fromkeys(IMPRESSION, ("all", minus))
        elif self.impressions.truth or self.impressions.unbiased:
            found |= dict.fromkeys(CONVERSION, ("all", "clicked", "unclicked", minus))
        return found
