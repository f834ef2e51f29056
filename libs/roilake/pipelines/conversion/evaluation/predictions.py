"""The impressions of a split that models are evaluated on, and what a model predicts of them, from rows of tables.

Legend: N impressions, U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.metrics.classification import Floats


@dataclass(frozen=True)
class EvaluatedImpressions:
    """What is known of the impressions of a split, by ``ids``: whether clicked and converted, NaN where nobody knows;
    of a generated truth, how probable it is. ``user_N`` numbers the ``users`` from 0."""

    ids: pa.Array
    user_N: NDArray[np.int64]
    users: int
    click_N: Floats
    conversion_N: Floats
    weight_N: Floats

    @classmethod
    def of(cls, impressions: pa.Table, truth: pa.Table | None = None) -> EvaluatedImpressions:
        """From rows of table ``impressions`` (impression_id, user, click, conversion, sampling_rate) of one split, and
        rows of ``conversion_truth`` for those of the unbiased split, if their truth is known. Raises MetricError where
        the two do not fit."""
        rows = impressions.sort_by("impression_id").combine_chunks()
        ids, users = rows["impression_id"].combine_chunks(), rows["user"].combine_chunks().dictionary_encode()
        click_N, conversion_N = (_floats(rows[name]) for name in ("click", "conversion"))
        if truth is not None and truth.num_rows:
            known = truth.sort_by("impression_id").combine_chunks()
            if not known["impression_id"].combine_chunks().equals(ids):
                raise MetricError(
                    f"conversion_truth holds {known.num_rows} of the {rows.num_rows} random pairs; run "
                    "build_impressions again"
                )
            names = ("click_probability", "conversion_probability")
            click_N, conversion_N = (_floats(known[name]) for name in names)
        weight_N = 1.0 / _floats(rows["sampling_rate"])
        user_N = users.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return cls(ids, user_N, len(users.dictionary), click_N, conversion_N, weight_N)

    def slice_weights(self, name: str) -> Floats:
        """How much each row counts in a slice [N]: by the probability that it belongs to it; not at all where nobody
        knows."""
        share_N = {"all": np.ones_like(self.click_N), "clicked": self.click_N, "unclicked": 1 - self.click_N}
        return self.weight_N * np.nan_to_num(share_N[name])


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one model for the impressions of a split, in the order of their ids [N]; None where it predicts
    no click."""

    pcvr_N: Floats
    pctr_N: Floats | None = None
    pctcvr_N: Floats | None = None

    @classmethod
    def of(cls, rows: pa.Table, impressions: EvaluatedImpressions, model: str) -> Predictions:
        """From rows of ``cvr_scores`` of one model and split. Raises MetricError when they are of other impressions."""
        rows = rows.sort_by("impression_id").combine_chunks()
        if not rows["impression_id"].combine_chunks().equals(impressions.ids):
            raise MetricError(
                f"cvr_scores of {model} are of other impressions than those evaluated ({rows.num_rows} rows, "
                f"{len(impressions.ids)} impressions): run score_conversions again"
            )
        clicks = [_floats(rows[name]) if rows[name].null_count == 0 else None for name in ("pctr", "pctcvr")]
        return cls(_floats(rows["pcvr"]), *clicks)


def _floats(column: pa.ChunkedArray) -> Floats:
    """NaN for null."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), np.float64)
