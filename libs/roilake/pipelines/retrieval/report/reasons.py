"""Why neighbours of histories were kept: of some of the night's judged requests, by the edge types of their regions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from roilake.pipelines.retrieval.explain.neighbours import age
from roilake.pipelines.retrieval.histories import Histories, history_files
from roilake.pipelines.retrieval.report.served import Served
from roilake.pipelines.retrieval.roi import RoiLayout

SAMPLED = 1000
"""Test requests that are looked at; these with the smallest ids, which are hashes."""


@dataclass(frozen=True)
class Slot:
    """Neighbours that one edge type keeps of histories: how many of a request, the share of them that is linked to the
    query where there is one, their mean likeness and median age (None without any)."""

    edge_type: str
    kept: float
    linked: float | None
    likeness: float | None
    age: str | None


@dataclass(frozen=True)
class Reasons:
    """Of ``requests``: the share ``without`` a history, its mean ``length`` in events, cut at ``most``, and by slot
    what their regions keep of it."""

    requests: int
    without: float
    length: float
    most: int
    slots: tuple[Slot, ...]


def read_reasons(served: Served) -> Reasons | None:
    """None for a night without such requests, histories or slots."""
    versions = served.night.versions
    if not {"rois", "histories"} <= versions.keys() or not served.layouts.request.history:
        return None
    layout, most = served.layouts.request, json.loads(served.night.config)["history"]["max_events"]
    columns = ["root", "user", "query", "time", "neighbours", "relevance", "linked", "ages"]
    rows = served.rows("rois", columns, pc.field("split") == "test", side="request").nsmallest(SAMPLED, "root")
    if rows.empty:
        return None
    user_R, time_R = rows["user"].to_numpy(), rows["time"].to_numpy()
    files = history_files(served.lake, versions["histories"], served.night.ds)
    first_R, last_R = Histories.read(files, user_R).spans(user_R, time_R, most)
    length_R = last_R - first_R
    slots = tuple(_slots(layout, rows))
    return Reasons(len(rows), float((length_R == 0).mean()), float(length_R.mean()), most, slots)


def _slots(layout: RoiLayout, rows: pd.DataFrame) -> Iterator[Slot]:
    ids_RS, likeness_RS, linked_RH, ages_RH = (
        np.stack(rows[name].to_list()) for name in ("neighbours", "relevance", "linked", "ages")
    )
    asked_R1 = rows["query"].to_numpy()[:, None] >= 0
    for slot in layout.history:
        span, places = slice(slot.start, slot.start + slot.size), slice(slot.place, (slot.place or 0) + slot.size)
        kept_RH = ids_RS[:, span] >= 0
        linked_N, codes_N = linked_RH[:, places][kept_RH & asked_R1], ages_RH[:, places][kept_RH].astype(int) + 128
        found = bool(kept_RH.any())
        yield Slot(
            slot.edge_type,
            float(kept_RH.sum(1).mean()),
            float(linked_N.mean()) if len(linked_N) else None,
            float(likeness_RS[:, span][kept_RH].mean() / 127) if found else None,
            age(int(np.sort(codes_N)[(len(codes_N) - 1) // 2])) if found else None,
        )
