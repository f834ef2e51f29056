"""A night without any query, on some customers of Online Retail: a request is a whole basket, and its region is cut from
the baskets before it."""

from __future__ import annotations

import gzip
from collections import defaultdict
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from roilake.errors import SourceError
from roilake.ingest.files import find_files
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.events import UNASKED
from roilake.pipelines.retrieval.roi import Layouts
from roilake.report import report_path
from roilake.runtime.night import run_night
from roilake.runtime.registry import load_config

CONF = Path(__file__).parents[2] / "conf" / "nights" / "retrieval" / "online_retail.yaml"
MODELS = ("zoomer", "item_knn", "popularity")
FILE = "shared://online_retail/{}.tsv.gz"


def excerpt(folder: Path) -> list[list[str]]:
    """Write the files below ``folder``, of purchases those since July 2011 of every 97th customer: a few seconds of
    work. Returns these lines' cells. Skips where the data is not there."""
    try:
        purchases, items = (
            (find_files(FILE.format(name)) or pytest.fail()).paths[0] for name in ("purchases", "items")
        )
    except SourceError as error:
        pytest.skip(str(error))
    with gzip.open(purchases, "rt") as lines:
        head, *rows = (line.split("\t") for line in lines)
    kept = [row for row in rows if int(row[0]) % 97 == 7 and row[1] >= "2011-07"]
    (folder / "online_retail").mkdir()
    with gzip.open(folder / "online_retail" / "purchases.tsv.gz", "wt") as out:
        out.writelines("\t".join(row) for row in (head, *kept))
    (folder / "online_retail" / "items.tsv.gz").symlink_to(items)
    return kept


def test_a_night_of_baskets(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = excerpt(tmp_path)
    monkeypatch.setenv("ROILAKE_DATA", str(tmp_path))
    config = load_config(CONF)
    assert isinstance(config, RetrievalConfig) and config.default_ds is not None
    changes = {
        "windows": config.windows.model_copy(update={"train": 2}),
        "models": {name: config.models[name] for name in MODELS},
        "training": config.training.model_copy(update={"epochs": 1, "workers": 1}),
        "evaluation": config.evaluation.model_copy(update={"bootstrap": 10}),
        "scoring": config.scoring.model_copy(update={"lookback_days": 28}),
        "gates": type(config.gates)(),  # a few customers reach no AUC
    }
    config = config.model_copy(update=changes)
    results = {result.step: result for result in run_night(lake, config, config.default_ds)}

    goods = [row for row in rows if row[2][0].isdigit()]
    assert results["ingest_events"].rows_out == len(goods) < len(rows)
    assert results["ingest_events"].details["left_out"] == {UNASKED: len(rows) - len(goods)}
    assert results["evaluate_models"].details["seen"]["rule"] == "keep"
    baskets: dict[str, dict[datetime, set[str]]] = defaultdict(lambda: defaultdict(set))
    for customer, time, stock, *_ in goods:
        baskets[customer][datetime.fromisoformat(time).replace(tzinfo=UTC)].add(stock)
    keys = {
        (row["node_type"], row["id"]): row["key"]
        for row in lake.to_arrow("node_ids", lake.version("node_ids")).to_pylist()
    }
    rois = lake.to_arrow("rois", lake.version("rois"), filters={"side": "request"}).to_pylist()
    judged = [row for row in rows if row[1] >= "2011-11-12" and row[2][0].isdigit()]
    assert len({(row[0], row[1]) for row in judged}) == sum(row["split"] == "test" for row in rois) > 10
    layout, filled = Layouts.of(config.roi).request, 0
    assert {slot.edge_type for slot in layout.history} == {"user_item", "user_item_recent"}
    for row in rois:
        own = baskets[keys["user", row["user"]]]
        before = {stock for time, basket in own.items() if time < row["time"] for stock in basket}
        assert row["query"] == -1
        if row["split"] != "serve":
            basket = {keys["item", item] for item in row["positives"]}
            assert basket == own[row["time"]] and row["repeats"] == len(basket & before)
        for slot in layout.history:
            kept = [item for item in row["neighbours"][slot.start : slot.start + slot.size] if item >= 0]
            assert len(kept) == min(slot.size, len(before)) and {keys["item", item] for item in kept} <= before
            filled += bool(kept)
    assert filled > 20
    check_lists(lake, config)


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
