"""What the configs of all pipelines share: strict sections, files, bounds that decide on publication."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from roilake.masking import secret_in
from roilake.metrics.registry import direction

Positive = Annotated[int, Field(gt=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_LONGEST_NAME = 100
"""Bytes: a folder's name may have 255, and some are made of a model's and more."""


def _fit_for_a_folder(name: str) -> str:
    bad = sorted({char for char in name if char in "/\\%" or char.isspace() or not char.isprintable()})
    if not name or name.startswith("."):
        problem = "is empty or begins with a dot"
    elif bad:
        problem = f"holds {', '.join(map(repr, bad))}"
    elif len(name.encode()) > _LONGEST_NAME:
        problem = f"is longer than {_LONGEST_NAME} bytes"
    else:
        return name
    raise PydanticCustomError(
        "model_name",
        "the name {name} {problem}, and a model's name is also its folder's; rename it",
        {"name": repr(name), "problem": problem},
    )


ModelName = Annotated[str, AfterValidator(_fit_for_a_folder)]
"""Any text that is safe as the name of a folder."""


class Strict(BaseModel):
    """Base of every config section: frozen, and no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileSource(Strict):
    """Files that Spark reads. ``path`` may be local, ``s3a://...``, ``package://PACKAGE/FILE`` (shipped inside an
    installed Python package) or ``shared://FILE`` (below ``$ROILAKE_DATA``). Neither it nor ``options`` may hold a
    secret: a night's config is published."""

    path: str
    format: Literal["csv", "json", "parquet", "text"]
    options: dict[str, str] = {}

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        secret = secret_in(self.path, self.options)
        if secret:
            raise ValueError(secret)
        return self


class RowSource(FileSource):
    """``where``: an SQL condition over the file's columns; rows that it does not hold for are left out, counted."""

    where: str | None = None


class IntakeConfig(Strict):
    """How much of each source's rows a night may lose, and how few keys it may come down to, before it fails."""

    quarantine_budget: Fraction = 0.01  # share of the rows looked at that may be rejected
    later_budget: Fraction = 0.5  # share of all rows that may be later than the night
    minimum_keys: Positive = 3
    """Of a night of 50 rows and more: fewer different users, items or queries than these fail its audit, where the last
    published night had 20 and more."""


class Bound(Strict):
    """What a metric of the night must keep to. ``model``: the one that serves unless named (held against the one that
    served the last night); ``all`` bounds each model.

    ``not_worse_than: last`` fails when the metric's 95 % interval lies wholly on the worse side of that of the last
    published night. Nights keep estimates, not outcomes, so nothing is paired. With intervals of equal width and no
    true change it fails one night in 360 (less where the nights share test days): rare enough to stop a night for.
    What is asked changes too, though: where all models move alike, bound a difference instead. On slice
    ``delta_vs_default``, or ``delta_vs_default on SLICE`` (another model minus the one that serves, paired), it is
    worse for the other to come closer; the one that serves has 0 there.
    """

    metric: str
    model: str | None = None
    split: str = "test"
    slice: str = "all"
    minimum: Annotated[float, Field(allow_inf_nan=False)] | None = None
    maximum: Annotated[float, Field(allow_inf_nan=False)] | None = None
    not_worse_than: Literal["last"] | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Bound:
        if self.minimum is None and self.maximum is None and self.not_worse_than is None:
            raise ValueError(f"{self.metric} has no bound; add minimum, maximum or not_worse_than: last")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}; change one of them")
        return self


class GatesConfig(Strict):
    """What must hold, beside the checks of every night, before a night is published."""

    bounds: tuple[Bound, ...] = ()


BEST = "best"
"""As ``default_model``: the model that validation prefers, where a pipeline lets it choose."""


class NightConfig(Strict):
    """What every night's config has. ``default_ds`` is the night that runs when nobody names one; ``default_model``
    serves, or says that the night chooses (see ``roilake.metrics.champion``)."""

    pipeline: str
    name: str
    default_ds: date | None = None
    default_model: str
    seed: int = 0
    gates: GatesConfig = GatesConfig()
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The YAML file that it was read from, if any; no part of what the night depends on."""
        return self._file

    def read_from(self, file: Path) -> Self:
        """The same, which knows its file."""
        copied = self.model_copy()
        copied._file = file
        return copied

    def digest(self) -> str:
        """Hash of all that a night depends on. The order of entries counts: that of edge types lays out the ROIs."""
        return hashlib.sha256(self.model_dump_json(exclude={"default_ds"}).encode()).hexdigest()[:16]

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Names of all models that are evaluated."""
        return (self.default_model,)

    @property
    def upstreams(self) -> dict[str, bool]:
        """Pipelines that this night reads tables of, and whether it cannot do without."""
        return {}

    def measured(self) -> Mapping[str, Mapping[str, Collection[str]]]:
        """Slices by metric by split: what bounds may name. ``NAME=VALUE`` stands for all values of a slice."""
        return {}

    @model_validator(mode="after")
    def _bounds_name_what_is_measured(self) -> Self:
        """Every bound names a model, split, metric and slice that the night has."""
        for number, bound in enumerate(self.gates.bounds):
            splits = self.measured()
            metrics = splits.get(bound.split, {})
            slices = metrics.get(bound.metric, ())
            any_value = f"{bound.slice.partition('=')[0]}=VALUE"
            named = any_value if "=" in bound.slice and any_value in slices else bound.slice
            for key, name, known, where in (
                ("model", bound.model or "all", (*self.evaluated, "all"), ""),
                ("split", bound.split, splits, ""),
                ("metric", bound.metric, metrics, f" on split {bound.split}"),
                ("slice", named, slices, f" of {bound.metric} on split {bound.split}"),
            ):
                if name not in known:
                    raise ValueError(
                        f"gates.bounds.{number}.{key}: the night has no {key} {name!r}{where}; there are "
                        f"{', '.join(known) or 'none'}"
                    )
            if bound.not_worse_than and not direction(bound.metric):
                raise ValueError(
                    f"gates.bounds.{number}.not_worse_than: {bound.metric} has no better side; set a minimum or maximum"
                )
        return self

    def check(self) -> None:
        """What a later step would fail at, beyond what the types say. Raises ConfigError."""


class ContestConfig(NightConfig):
    """A night with ``models`` and, where none is named, with the one among ``evaluated`` that validation prefers."""

    default_model: str = BEST

    @field_validator("models", check_fields=False)
    @classmethod
    def _some(cls, models: dict[str, Any]) -> dict[str, Any]:
        if not models:
            raise ValueError("name at least one model")
        return models

    @model_validator(mode="after")
    def _default_is_there(self) -> Self:
        if BEST in self.evaluated:
            raise ValueError(f"models.{BEST}: default_model: {BEST} leaves the choice to validation; rename the model")
        if self.default_model not in (BEST, *self.evaluated):
            raise ValueError(
                f"default_model: {self.default_model!r} is not among the models ({', '.join(self.evaluated)}); add it, "
                f"name one, or say {BEST}"
            )
        return self


class HeldOut(Strict):
    """Shares that choose a model and that evaluate it; the rest is learnt from."""

    validation: Share
    test: Share

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to learn from; take smaller shares")
        return self


class TrainerConfig(Strict):
    """How the trainer works on a night's models, whatever they are."""

    workers: Positive = 2
    checkpoint_every: Positive = 200
    determinism: Literal["strict", "fast"] = "strict"
    """``strict``: the same weights again from the same inputs. ``fast``: any kernel, and TF32 on a GPU."""
    mixed_precision: bool = False  # losses in bfloat16 where there is a GPU
    patience: Positive | None = None  # stop after so many validations without a better one
    clip_norm: Rate | None = None  # greatest norm of the gradients of a step
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    decay: Literal["constant", "linear", "cosine"] = "constant"  # of the learning rate, after the warm-up


class ModelConfig(Strict):
    """``kind`` names a file of models; ``options`` are validated by that file's ``Options``."""

    kind: str
    options: dict[str, Any] = {}
    learning_rate: Rate | None = None  # default: that of ``training``
