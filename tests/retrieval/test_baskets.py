"""A night without any query, on some customers of Online Retail: a request is a whole basket, and its region is cut
from the baskets before it."""

from __future__ import annotations

import gzip
from collections import defaultdict
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from roilake.config.base import GatesConfig
from roilake.ingest import UNASKED
from roilake.ingest.files import resolve_path
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.roi import Layouts
from roilake.report import report_path
from roilake.runtime.night import run_night
from roilake.runtime.registry import load_config

CONF = Path(__file__).parents[2] / "conf" / "nights" / "retrieval" / "online_retail.yaml"
MODELS = ("zoomer", "item_knn", "popularity")


Baskets = dict[str, dict[datetime, set[str]]]
"""Goods by customer and time."""


def excerpt(folder: Path) -> list[list[str]]:
    """Write the files below ``folder``, of purchases those since July 2011 of every 97th customer, and return these
    lines' cells. Skips where the data is not there."""
    purchases, items = (
        Path(str(resolve_path(f"shared://online_retail/{name}.tsv.gz"))) for name in ("purchases", "items")
    )
    if not purchases.exists():
        pytest.skip(f"no {purchases}")
    with gzip.open(purchases, "rt") as lines:
        head, *rows = (line.split("\t") for line in lines)
    kept = [row for row in rows if int(row[0]) % 97 == 7 and row[1] >= "2011-07"]
    (folder / purchases.parent.name).mkdir()
    with gzip.open(folder / purchases.parent.name / purchases.name, "wt") as out:
        out.writelines("\t".join(row) for row in (head, *kept))
    (folder / items.parent.name / items.name).symlink_to(items)
    return kept


def small() -> RetrievalConfig:
    """The night's config with three models and two windows to learn from."""
    config = load_config(CONF)
    assert isinstance(config, RetrievalConfig)
    changes = {
        "windows": config.windows.model_copy(update={"train": 2}),
        "models": {name: config.models[name] for name in MODELS},
        "training": config.training.model_copy(update={"epochs": 1, "workers": 1}),
        "evaluation": config.evaluation.model_copy(update={"bootstrap": 10}),
        "scoring": config.scoring.model_copy(update={"lookback_days": 28}),
        "gates": GatesConfig(),  # a few customers teach no model enough
    }
    return config.model_copy(update=changes)


def test_a_night_of_baskets(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, config = excerpt(tmp_path), small()
    monkeypatch.setenv("ROILAKE_DATA", str(tmp_path))
    assert config.default_ds is not None
    results = {result.step: result for result in run_night(lake, config, config.default_ds)}
    goods = [row for row in rows if row[2][0].isdigit()]
    assert results["ingest_events"].rows_out == len(goods) < len(rows)
    assert results["ingest_events"].details["left_out"] == {UNASKED: len(rows) - len(goods)}
    assert results["evaluate_models"].details["seen"]["rule"] == "keep"
    baskets: Baskets = defaultdict(lambda: defaultdict(set))
    for customer, time, stock, *_ in goods:
        baskets[customer][datetime.fromisoformat(time).replace(tzinfo=UTC)].add(stock)
    check_regions(lake, config, baskets)
    check_lists(lake, config)


def check_regions(lake: Lake, config: RetrievalConfig, baskets: Baskets) -> None:
    """Each basket since the start of the windows is one request; its region keeps goods of earlier ones only."""
    ids = lake.to_arrow("node_ids", lake.version("node_ids")).to_pylist()
    keys = {(row["node_type"], row["id"]): row["key"] for row in ids}
    rois = lake.to_arrow("rois", lake.version("rois"), filters={"side": "request"}).to_pylist()
    tested = [time for own in baskets.values() for time in own if time >= datetime(2011, 11, 12, tzinfo=UTC)]
    assert sum(row["split"] == "test" for row in rois) == len(tested) > 10
    layout, filled = Layouts.of(config.roi).request, 0
    assert {slot.edge_type for slot in layout.history} == {"user_item", "user_item_recent"}
    for row in rois:
        own = baskets[keys["user", row["user"]]]
        before = {stock for time, basket in own.items() if time < row["time"] for stock in basket}
        basket = {keys["item", item] for item in row["positives"]}
        assert row["query"] == -1 and row["repeats"] == len(basket & before)
        assert basket == (set() if row["split"] == "serve" else own[row["time"]])
        for slot in layout.history:
            kept = [item for item in row["neighbours"][slot.start : slot.start + slot.size] if item >= 0]
            assert len(kept) == min(slot.size, len(before)) and {keys["item", item] for item in kept} <= before
            filled += bool(kept)
    assert filled > 20


def check_lists(lake: Lake, config: RetrievalConfig) -> None:
    """Every list has titles, and the page shows some without a query."""
    found = lake.to_arrow("recommendations", lake.version("recommendations")).to_pylist()
    assert {row["query"] for row in found} == {None} and all(row["title"] for row in found)
    assert config.default_ds is not None
    page = unescape(report_path(lake, "retrieval", config.default_ds).read_text())
    shown = page[page.index("What was recommended, and why") : page.index("Events and graph")]
    user = shown.split("<h3>User ")[1].split("<")[0]
    assert ", query" not in user
    firsts = [row["title"] for row in found if row["user"] == user and row["rank"] <= 5]
    assert len(firsts) == 5 and all(title in shown for title in firsts)
    assert "seen items are kept" in shown and "user → item, recent" in shown
