"""The measures of a night of node labels, each with n and its 95 % interval: a bootstrap over nodes.

Legend: N nodes, C labels that the models know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.hashing import keyed_hash
from roilake.metrics.classification import Floats
from roilake.metrics.intervals import Draws, Estimate, Summed
from roilake.metrics.leakage import SHUFFLED, shuffled_auc
from roilake.metrics.metric_rows import compared_rows, metric_row, metric_table
from roilake.metrics.observed import observe_mean
from roilake.metrics.registry import find
from roilake.metrics.slices import LEAKAGE_CHECK
from roilake.pipelines.node_labels.metrics import DEGREE, HOMOPHILY, OWN

SPLITS = ("validation", "test")
_LEAST = 1e-12
"""The probability of a label that a model gives none."""


@dataclass(frozen=True)
class Known:
    """Nodes of one split with a known label: ``label_N`` numbers the models' labels, and after them those that no model
    knows. ``cuts`` maps slices to the nodes that are in them."""

    node_N: NDArray[np.int64]
    label_N: NDArray[np.int64]
    cuts: Mapping[str, NDArray[np.bool_]]


def observe_accuracy(likely_NC: Floats, label_N: NDArray[np.int64], chosen_N: NDArray[np.bool_]) -> Summed:
    """Hits over nodes; of equally probable labels the first counts."""
    hit_N = likely_NC.argmax(1) == label_N
    return _mean(hit_N.astype(np.float64), chosen_N)


def observe_cross_entropy(likely_NC: Floats, label_N: NDArray[np.int64], chosen_N: NDArray[np.bool_]) -> Summed:
    """Mean of -ln p, with p the probability of a node's own label."""
    known_N = label_N < likely_NC.shape[1]
    own_N = np.where(known_N, likely_NC[np.arange(len(label_N)), np.where(known_N, label_N, 0)], 0.0)
    return _mean(-np.log(np.maximum(own_N, _LEAST)), chosen_N)


def observe_macro_f1(likely_NC: Floats, label_N: NDArray[np.int64], chosen_N: NDArray[np.bool_]) -> Summed:
    """Mean of 2 h_c / (n_c + m_c) over the labels c with n_c + m_c > 0: h_c nodes are rightly said to have it, n_c have
    it, m_c are said to."""
    classes, said_N = max(likely_NC.shape[1], label_N.max(initial=-1) + 1), likely_NC.argmax(1)
    own_NC, said_NC = (np.equal.outer(each, np.arange(classes)) & chosen_N[:, None] for each in (label_N, said_N))
    sums = np.concatenate([own_NC & said_NC, own_NC, said_NC], axis=1).astype(np.float64)
    return Summed(sums, lambda totals: _macro_f1(totals, classes), int(chosen_N.sum()))


def _macro_f1(totals: Floats, classes: int) -> Floats:
    hits, own, said = (totals[..., part * classes : (part + 1) * classes] for part in range(3))
    both = own + said
    found = np.where(both > 0, 2 * hits / np.where(both > 0, both, 1.0), np.nan)
    there = (both > 0).any(-1)
    return np.where(there, np.nansum(found, -1) / np.maximum((both > 0).sum(-1), 1), np.nan)


def _mean(values_N: Floats, chosen_N: NDArray[np.bool_]) -> Summed:
    nodes = len(values_N)
    return observe_mean(np.where(chosen_N, values_N, np.nan), np.arange(nodes), nodes)


def measure(
    known: Mapping[str, Known],
    likely: Mapping[str, Mapping[str, Floats]],
    default_model: str,
    bootstrap: int,
    seed: int,
    ds: date,
    run: str,
) -> pa.Table:
    """Rows of ``metrics``: of every split, model and slice each of the pipeline's metrics, the paired differences to
    the model that serves, and AUCs of shuffled labels. ``likely`` maps a split and a model to probabilities of the
    split's nodes [N, C]."""
    rows: list[dict[str, Any]] = []
    for split, nodes in known.items():
        draws = Draws(nodes.node_N, bootstrap, seed)
        own = likely[split]
        baseline = {cut: observe(nodes, own[default_model], chosen_N) for cut, chosen_N in nodes.cuts.items()}
        for model, likely_NC in sorted(own.items()):
            for cut, chosen_N in nodes.cuts.items():
                if model == default_model:
                    rows += compared_rows(model, split, cut, baseline[cut], None, draws)
                else:
                    found = observe(nodes, likely_NC, chosen_N)
                    rows += compared_rows(model, split, cut, found, baseline[cut], draws)
            rows.append(metric_row(model, split, LEAKAGE_CHECK, SHUFFLED, _shuffled(nodes, likely_NC, seed)))
    return metric_table(rows, ds, run)


def observe(nodes: Known, likely_NC: Floats, chosen_N: NDArray[np.bool_]) -> dict[str, Summed]:
    """Each metric of the chosen nodes, by name; ``likely_NC`` are probabilities of the split's nodes."""
    found = {}
    for name in OWN:
        metric = find(name)
        assert metric is not None
        found[name] = metric.compute(likely_NC, nodes.label_N, chosen_N)
    return found


def _shuffled(nodes: Known, likely_NC: Floats, seed: int) -> Estimate:
    """AUC of the probability of the most frequent label against nodes that have it, dealt out anew."""
    classes = likely_NC.shape[1]
    label = int(np.bincount(nodes.label_N, minlength=classes)[:classes].argmax())
    return shuffled_auc(nodes.label_N == label, likely_NC[:, label], keyed_hash(seed, nodes.node_N))


def slices_of(share_N: Floats, degree_N: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Slices of nodes as masks [N], by ``homophily`` and by the number of neighbours."""
    yield f"{HOMOPHILY}=unknown", np.isnan(share_N)
    for low, high in pairwise((0.0, 0.25, 0.5, 0.75, 1.01)):
        yield f"{HOMOPHILY}={low:g} to {min(high, 1):g}", (share_N >= low) & (share_N < high)
    for name, low, high in (("0", 0, 1), ("1 to 3", 1, 4), ("4 to 15", 4, 16), ("16 and more", 16, np.inf)):
        yield f"{DEGREE}={name}", (degree_N >= low) & (degree_N < high)
