"""Small nights of conversions: on the generated log of ``conf/nights/conversion/generated.yaml``, and on files of a few
rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml

from roilake.lake import TABLES, Lake
from roilake.pipelines.conversion.config import ConversionConfig

CONF = Path(__file__).parents[2] / "conf" / "nights" / "conversion" / "generated.yaml"
DS = date(1998, 3, 28)
MODELS: dict[str, Any] = {
    "ukd": {"kind": "ukd", "teacher": "both"},
    "base": {"kind": "base"},
    "naive": {"kind": "naive"},
}
TEACHERS: dict[str, Any] = {"adversarial": {"kind": "ukd_teacher"}, "product": {"kind": "esmm"}}


def generated_night(**sections: Any) -> ConversionConfig:
    """Six thousand impressions, a quarter clicked and a third of these converted; 30 steps by two workers."""
    tree = yaml.safe_load(CONF.read_text())
    tree.pop("preset", None)
    truth = {"impressions": 6000, "click_rate": 0.25, "conversion_rate": 0.3, "random_pairs": 1500}
    tree["impressions"]["truth"] |= truth
    tree["models"], tree["teachers"], tree["evaluation"] = MODELS, TEACHERS, {"bootstrap": 20}
    tree["ensembles"] = {"both": list(TEACHERS)}
    tree["training"] = {"steps": 30, "clicks": 64, "impressions": 128, "validate_every": 10}
    return ConversionConfig.model_validate({**tree, "gates": {}, **sections})


def log_of(days: int = 12, rows: int = 1200) -> pa.Table:
    """A log in which users 0 to 4 convert, mostly: columns id, time, user, item, click, bought."""
    rng = np.random.default_rng(5)
    user, item = rng.integers(0, 30, rows), rng.integers(0, 20, rows)
    click = (rng.random(rows) < 0.4).astype(int)
    bought = click * (rng.random(rows) < np.where(user < 10, 0.6, 0.2))
    start = datetime.combine(DS + timedelta(days=1 - days), datetime.min.time(), UTC)
    seconds = np.linspace(0, days * 86400 - 1, rows)
    return pa.table(
        {
            "id": [f"i{number:05d}" for number in range(rows)],
            "time": [(start + timedelta(seconds=float(s))).strftime("%Y-%m-%d %H:%M:%S") for s in seconds],
            "user": [f"u{u}" for u in user],
            "item": [f"m{i}" for i in item],
            "click": click,
            "bought": bought.astype(int),
        }
    )


def night_of(folder: Path, log: pa.Table, **sections: Any) -> ConversionConfig:
    """A night on a log, written as ``log.csv``: one worker, 40 steps, test and validation two days each."""
    pa.csv.write_csv(log, folder / "log.csv")
    columns = {"user": "user", "item": "item", "click": "click", "conversion": "bought", "time": "time"}
    source = {
        "files": {"log": {"path": str(folder / "log.csv"), "format": "csv"}},
        "columns": {**columns, "impression_id": "id"},
    }
    given = sections.pop("impressions", {})
    tree: dict[str, Any] = {
        "name": "small",
        "pipeline": "conversion",
        "seed": 3,
        "default_model": "base",
        "impressions": {"source": source, "split": {"validation": 2, "test": 2}, "shards": 1, **given},
        "models": {"base": {"kind": "base"}},
        "training": {"workers": 1, "steps": 40, "clicks": 64, "impressions": 64, "validate_every": 20},
        "evaluation": {"bootstrap": 20},
    }
    return ConversionConfig.model_validate(tree | sections)


def table(lake: Lake, name: str, **filters: object) -> pa.Table:
    """The latest version of a table, by key."""
    rows = lake.to_arrow(name, lake.version(name), filters=filters)
    return rows.sort_by([(key, "ascending") for key in TABLES[name].key])
