"""What a night of conversion models does: impressions, clicks, conversions, and on what models are evaluated.

All columns are Spark SQL expressions over the rows of the source, so pointing at new data takes no code."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from roilake.config.base import (
    FileSource,
    Fraction,
    IntakeConfig,
    ModelConfig,
    NightConfig,
    Positive,
    Rate,
    Share,
    Strict,
    TrainerConfig,
)
from roilake.metrics.slices import ALL, delta_vs_default
from roilake.pipelines.conversion.metrics import CONVERSION, IMPRESSION, SLICES

Name = Annotated[str, Field(pattern=r"^[a-z]\w*$", max_length=60)]  # names folders too
Side = Literal["user", "item", "context"]


class ImpressionColumns(Strict):
    """SQL expressions that make an impression of a source row. Labels are 1 or 0, true or false, yes or no. Without
    ``impression_id``, an impression is what its time, user, item and fields say, and a number among equal ones: a
    conversion that comes in later changes no id. A row that breaks the contract (a conversion without a
    click, a label that is neither 0 nor 1, a negative delay, a propensity or sampling rate outside (0, 1]) goes to
    quarantine with its reason."""

    user: str
    item: str
    click: str
    conversion: str
    time: str | None = None  # default: the start of the night; then split by hash
    impression_id: str | None = None
    delay_seconds: str | None = None  # from impression to conversion; null without a conversion
    sampling_rate: str = "1.0"  # probability with which the log kept such a row
    propensity: str | None = None  # logged probability of the click (or of the exposure), where known


class ImpressionSource(Strict):
    """Files by name, and the SQL that makes one row per impression of them (the one file's rows by default)."""

    files: dict[Name, FileSource]
    rows: str | None = None
    columns: ImpressionColumns

    @model_validator(mode="after")
    def _rows_are_given(self) -> ImpressionSource:
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
    click_affinity: float = 0.5  # weight of the conversion's own score in the click's: below 0, clicks are bait
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


class ImpressionsConfig(IntakeConfig):
    """Where impressions come from. ``unbiased`` holds pairs that were shown at random, with their conversions: nobody
    learns from them, all models are evaluated on them. A night reads the last ``days`` days (all without it), and
    leaves out the last ``maturity_hours``, whose conversions may still come."""

    source: ImpressionSource | None = None
    unbiased: ImpressionSource | None = None
    truth: TruthConfig | None = None
    fields: FieldColumns = FieldColumns()
    days: Positive | None = None
    maturity_hours: Annotated[float, Field(ge=0)] = 0.0
    split: SplitConfig = SplitConfig()
    shards: Positive = 2
    minimum_coverage: Fraction = 0.01
    """Share of the log's impressions in which each of the ``fields`` must be known."""

    @property
    def categories(self) -> list[tuple[Side, str]]:
        """Side and name of each entry of column ``categories``: the ids of user and item, then the ``fields``."""
        ids: list[tuple[Side, str]] = [("user", "user"), ("item", "item")]
        return [*ids, *((side, name) for side in get_args(Side) for name in getattr(self.fields, side))]

    @model_validator(mode="after")
    def _one_source(self) -> ImpressionsConfig:
        if (self.source is None) == (self.truth is None):
            raise ValueError("name either a source or a truth to generate from, not both")
        if self.source and self.source.columns.time is None and self.split.by == "time":
            raise ValueError("split.by: time needs source.columns.time; map it or split by hash")
        return self


class GraphVectors(Strict):
    """User and item vectors of a model of the last retrieval night that the lake published before the first impression
    learnt from."""

    model: str = "zoomer"


class ConversionModelConfig(ModelConfig):
    """A model of ``conversion.models``. ``teacher`` names one of the night's teachers or ensembles, for kinds
    that learn from pseudo-labels; ``steps`` and ``keep`` are those of ``training`` unless set here."""

    teacher: str | None = None
    steps: Positive | None = None
    keep: Literal["best", "last"] | None = None


class EmbeddingConfig(Strict):
    """A field of at most ``rows`` values in the train split has a row for each; the values of a larger one share
    ``rows`` rows by hash. So the memory of a model is bounded whatever the log."""

    rows: Positive = 1 << 18


class ConversionTrainingConfig(TrainerConfig):
    """Every step takes ``clicks`` clicked and ``impressions`` unclicked rows, over all workers. The step of the best
    AUC on the clicks of the validation split is kept; ``steps`` without an early stop: ``keep: last``."""

    steps: Positive = 400
    clicks: Positive = 256
    impressions: Positive = 1024
    learning_rate: Rate = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    validate_every: Positive = 25
    keep: Literal["best", "last"] = "best"
    graph: GraphVectors | None = None
    embeddings: EmbeddingConfig = EmbeddingConfig()


class ConversionScoringConfig(Strict):
    """The default model also scores every pair of a user and an item of the log, for pipelines that rank items, where
    these are about ``max_pairs`` at most; 0: never."""

    max_pairs: Annotated[int, Field(ge=0)] = 4_000_000


class ConversionEvaluationConfig(Strict):
    """About ``max_impressions`` of each split are evaluated at most, so that the driver's memory is bounded."""

    bootstrap: Positive = 200
    max_impressions: Positive | None = 2_000_000


class ConversionConfig(NightConfig):
    """All that one night of conversion models needs beside its ``ds`` and its lake."""

    pipeline: Literal["conversion"]
    default_model: str = "ukd"
    impressions: ImpressionsConfig
    teachers: dict[Name, ConversionModelConfig] = {}
    ensembles: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2)]] = {}
    """Teachers that predict as one; see ``conversion.models.ensemble``."""
    models: dict[Name, ConversionModelConfig]
    training: ConversionTrainingConfig = ConversionTrainingConfig()
    scoring: ConversionScoringConfig = ConversionScoringConfig()
    evaluation: ConversionEvaluationConfig = ConversionEvaluationConfig()

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
                raise ValueError(f"training.{name} must be a multiple of impressions.shards ({shards}): change one")
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
    def evaluated(self) -> tuple[str, ...]:
        """Models, then teachers."""
        return (*self.models, *self.teachers)

    @property
    def upstreams(self) -> dict[str, bool]:
        return {"retrieval": True} if self.training.graph else {}

    def check(self) -> None:
        """Raises ConfigError for a model's unknown kind or option, and students and teachers that do not fit."""
        from roilake.pipelines.conversion.config_checks import check  # needs torch, which takes seconds to import

        check(self)

    @property
    def labelling_teachers(self) -> tuple[str, ...]:
        """Teachers and ensembles that a model learns from."""
        return tuple(sorted({model.teacher for model in self.models.values() if model.teacher}))

    def measured(self) -> dict[str, Mapping[str, Collection[str]]]:
        """Slices by metric by split."""
        delta = delta_vs_default()
        clicked = "clicked", delta, delta_vs_default("clicked")
        logged = {**dict.fromkeys(CONVERSION, clicked), **dict.fromkeys(IMPRESSION, (ALL, delta))}
        unbiased = dict.fromkeys(CONVERSION, (*SLICES, *map(delta_vs_default, SLICES)))
        drawn = self.impressions.truth or self.impressions.unbiased
        return {"validation": logged, "test": logged, **({"unbiased": unbiased} if drawn else {})}
