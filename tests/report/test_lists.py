"""The lists on a night's page, and why neighbours were kept: of a night of two requests, written by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RelevanceWeights
from roilake.pipelines.retrieval.report.reasons import Reasons, Slot, read_reasons
from roilake.pipelines.retrieval.report.served import Said, Served, Shown
from tests.report.small_lake import FIRST, a_run, publish, roi

ANN, BOB, HOT, TEA, MILK, RUM = 0, 1, 0, 0, 1, 2
END = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=1)
ROI = {"request_hops": [{"user_item": 2, "query_user": 1}], "item_hops": [{"item_user": 1}]}
NODES = {
    "user": [("ann", None), ("bob", None)],
    "query": [("hot", "Hot drinks")],
    "item": [("tea", "Green tea"), ("milk", None), ("rum", "<Rum>")],
}


def request(root: int, split: str, user: int, query: int, neighbours: list[int], **columns: Any) -> dict[str, Any]:
    """A region with two items of the history and a user of the query."""
    made = roi("request", END.date(), split)
    tree = {"neighbours": neighbours, "relevance": [64, 0, 0], "linked": [1, 0], "ages": [136 - 128, 127]}
    return made | tree | {"root": root, "user": user, "query": query, "time": END, **columns}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Ann had milk and then tea, two days before the end, and asks for what is hot; Bob is new and asks for nothing."""
    lake = Lake(None, tmp_path_factory.mktemp("served") / "lake")
    past = [(MILK, 3, -1), (TEA, 2, HOT), (MILK, 9, HOT)]
    best = [("ann", "hot", 1, "tea"), ("ann", "hot", 2, "rum"), ("bob", None, 1, "milk"), ("bob", None, 6, "rum")]
    asked = [(7, "serve", ANN, HOT, [TEA, -1, BOB]), (5, "serve", BOB, -1, [-1, -1, -1])]
    judged = [(8, "test", ANN, HOT, [TEA, MILK, -1]), (9, "test", BOB, HOT, [-1, -1, ANN])]
    rows = {
        "rois": [request(*each) for each in (*asked, *judged)],
        "histories": [
            {"user": ANN, "time": END - timedelta(days=days), "item": had, "query": query} for had, days, query in past
        ],
        "nodes": [
            {"node_type": kind, "id": id, "key": key, "title": title, "fields": [], "terms": []}
            for kind, found in NODES.items() for id, (key, title) in enumerate(found)
        ],
        "adjacency": [
            {"as_of": END.date(), "edge_type": kind, "src": src, "neighbours": [dst], "weights": [1.0]}
            for kind, src, dst in (("item_query", TEA, HOT), ("item_item", TEA, RUM), ("item_item_similar", MILK, RUM))
        ],
        "recommendations": [
            {"user": user, "query": query, "rank": rank, "item": key, "score": 1.0, "model": "zoomer"}
            for user, query, rank, key in best
        ],
    }  # fmt: skip
    publish(lake, a_run("run", "retrieval", FIRST), rows, {"roi": ROI, "history": {"max_events": 2}})
    night = lake.publication("retrieval")
    assert night is not None
    return Served(lake, night)


def test_lists_stand_with_what_speaks_for_each_item(served: Served) -> None:
    rum = Said("<Rum> (rum)", "chosen beside Green tea (tea)")  # milk is not kept
    kept = [Said("Green tea (tea)", "likeness 0.50, linked to the query, 2.0 days ago")]
    newest = [Said("Green tea (tea)", "2.0 days ago"), Said("milk", "3.0 days ago")]
    tea = "had 2.0 days ago, linked to the query"
    assert served.shown(RelevanceWeights()) == [
        Shown("bob", None, [], [], 0, [Said("milk", "no direct link")]),
        Shown("ann", "Hot drinks (hot)", newest, kept, 1, [Said("Green tea (tea)", tea), rum]),
    ]


def test_why_neighbours_were_kept_is_counted_by_edge_type(served: Served) -> None:
    slot = Slot("user_item", kept=1.0, linked=0.5, likeness=64 / 127 / 2, age="1.5 days")
    assert read_reasons(served) == Reasons(requests=2, without=0.5, length=1.0, most=2, slots=(slot,))


def test_a_night_without_the_tables_shows_no_list(tmp_path: Path) -> None:
    lake = Lake(None, tmp_path / "lake")
    publish(
        lake, a_run("run", "retrieval", FIRST), {"rois": [request(7, "serve", ANN, HOT, [-1, -1, -1])]}, {"roi": ROI}
    )
    night = lake.publication("retrieval")
    assert night is not None
    bare = Served(lake, night)
    assert (bare.shown(RelevanceWeights()), read_reasons(bare)) == ([], None)
