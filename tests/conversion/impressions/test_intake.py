"""Logs that are joined of several files: what is lost of any of them is told, and stops the night."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.conversion import build_impressions
from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from tests.conversion.impressions.test_build_impressions import DS, impressions, night

LOG = "id,user,item,time,click\n" + "".join(f"n{n},u{n % 4},i{n % 3},2020-01-0{1 + n % 9},yes\n" for n in range(20))
ORDERS = [f'{{"id": "n{n}", "paid": "{"true" if n % 2 else "no"}"}}' for n in range(20)]
ROWS = "SELECT log.*, orders.paid FROM log LEFT JOIN orders USING (id)"


def joined(folder: Path, orders: list[str], rows: str = ROWS, **impressions: Any) -> ConversionConfig:
    """A night over a log and the orders that came of it."""
    (folder / "orders.json").write_text("\n".join(orders) + "\n")
    (folder / "log.csv").write_text(LOG)
    files = {
        "log": {"path": f"{folder}/log.csv", "format": "csv"},
        "orders": {"path": f"{folder}/orders.json", "format": "json"},
    }
    columns = {name: name for name in ("user", "item", "time", "click")} | {"conversion": "paid", "impression_id": "id"}
    source = {"files": files, "rows": rows, "columns": columns}
    return night(folder, LOG, source=source, **{"fields": {}, **impressions})


def test_labels_are_words_and_every_row_of_every_file_is_counted(lake: Lake, tmp_path: Path) -> None:
    result = build_impressions.run(lake, joined(tmp_path, ORDERS), DS)
    found = impressions(lake)
    assert {key: (row["click"], row["conversion"]) for key, row in found.items()} == {
        f"n{n}": (1, n % 2) for n in range(20)
    }
    counted = {"rows": 20, "taken": 20, "rejected": {}, "later": 0, "left_out": {}}
    assert result.details["sources"] == {"log": counted, "orders": counted, "source": counted}


def test_lines_cut_off_of_a_joined_file_stop_the_night(lake: Lake, tmp_path: Path) -> None:
    cut = [line[:-3] if n % 2 else line for n, line in enumerate(ORDERS)]
    with pytest.raises(
        AuditError, match=r"impressions\.orders \(.*orders\.json\): 10 of 20 rows were rejected \(10 does"
    ):
        build_impressions.run(lake, joined(tmp_path, cut), DS)
    assert not lake.exists("impressions")
    rows = lake.to_arrow("quarantine", lake.version("quarantine")).to_pylist()
    assert Counter((row["source"], row["reason"]) for row in rows) == {
        ("orders", "does not parse"): 10,
        ("source", "no click, or none of its conversion"): 10,  # whose orders these were
    }


def test_a_word_that_spark_takes_for_a_function_is_refused(lake: Lake, tmp_path: Path) -> None:
    rows = "SELECT log.id, item, time, click, session_user AS user, paid FROM log JOIN orders USING (id)"
    with pytest.raises(SourceError, match=r"impressions\.source\.rows: uses CurrentUser, which is no column"):
        build_impressions.run(lake, joined(tmp_path, ORDERS, rows), DS)


def test_a_field_that_no_row_has_stops_the_night(lake: Lake, tmp_path: Path) -> None:
    config = joined(tmp_path, ORDERS, fields={"user": {"land": "nullif(user, user)"}})
    with pytest.raises(
        AuditError, match=r"fields\.user\.land: is known of 0 of 20 impressions, below impressions\.min"
    ):
        build_impressions.run(lake, config, DS)
