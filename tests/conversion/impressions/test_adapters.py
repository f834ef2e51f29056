"""Each config of a real format reads twenty rows of that format, made up here, and the real files where they are."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from jobs.conversion import build_impressions
from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.runtime.registry import load_config
from roilake.runtime.step import StepResult
from tests.conversion.impressions.real_formats import write_formats

CONF = Path(__file__).parents[3] / "conf" / "nights" / "conversion"
DATA = Path(os.environ.get("ROILAKE_DATA", "../shared/data"))
Counts = tuple[int, int, int, int, int, dict[str, int]]
"""Rows, clicks and conversions of the log, rows and conversions of split unbiased, rejected rows by reason."""
MADE: dict[str, Counts] = {
    "coat": (20, 7, 4, 6, 3, {}),
    "kuairand": (20, 10, 5, 0, 0, {"a conversion without a click": 1}),
    "hillstrom": (20, 5, 3, 0, 0, {}),
    "open_bandit": (35, 20, 4, 20, 4, {}),
    "ali_ccp": (20, 8, 5, 0, 0, {}),
    "ali_ccp_text": (20, 7, 4, 0, 0, {}),
    "aliexpress": (20, 10, 2, 0, 0, {}),
}
REAL: dict[str, tuple[str, Counts]] = {
    "coat": ("coat", (87_000, 6_960, 1_905, 4_274, 769, {})),
    "kuairand": ("kuairand", (41_597, 27_484, 19_089, 0, 0, {"a conversion without a click": 231})),
    "hillstrom": ("hillstrom", (64_000, 9_394, 578, 0, 0, {})),
    "open_bandit": ("open_bandit_men", (43_033, 10_000, 69, 10_000, 46, {})),
    "ali_ccp": ("funnel_samples", (200, 12, 3, 0, 0, {})),
    "ali_ccp_text": ("funnel_samples", (10, 2, 1, 0, 0, {})),
    "aliexpress": ("funnel_samples", (120, 70, 4, 0, 0, {})),
}


@pytest.mark.parametrize("name", MADE)
def test_adapters_read_their_format(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_formats(tmp_path / "data")
    monkeypatch.setenv("ROILAKE_DATA", str(tmp_path / "data"))
    budget = {"quarantine_budget": 0.2}
    config = load_config(CONF / f"{name}.yaml", "conversion")
    assert isinstance(config, ConversionConfig)
    impressions = config.impressions.model_copy(update=budget)
    check(lake, config.model_copy(update={"impressions": impressions}), MADE[name])


@pytest.mark.parametrize("name", [name for name, (folder, _) in REAL.items() if (DATA / folder).exists()])
def test_adapters_read_the_real_files(lake: Lake, name: str) -> None:
    config = load_config(CONF / f"{name}.yaml", "conversion")
    assert isinstance(config, ConversionConfig)
    check(lake, config, REAL[name][1])


def check(lake: Lake, config: ConversionConfig, expected: Counts) -> None:
    assert isinstance(config.default_ds, date)
    result: StepResult = build_impressions.run(lake, config, config.default_ds)
    table: Any = lake.to_arrow("impressions", lake.version("impressions"))
    drawn = np.array(table["split"]) == "unbiased"
    click, conversion = (table[c].to_numpy(zero_copy_only=False) for c in ("click", "conversion"))
    found = (
        int((~drawn).sum()),
        int(np.nansum(click[~drawn])),
        int(np.nansum(conversion[~drawn])),
        int(drawn.sum()),
        int(np.nansum(conversion[drawn])),
        result.details["rejected"],
    )
    assert found == expected
    assert result.rows_in == len(table) + result.rows_quarantined + result.rows_later
    assert len(pc.unique(table["impression_id"])) == len(table)  # none of the random ones is in the log
    categories = np.stack(table["categories"].to_numpy(zero_copy_only=False))
    fields = config.impressions.fields
    names = ["user", "item", *fields.user, *fields.item, *fields.context]
    assert categories.shape[1] == len(names)
    empty = ["u126"] if config.name == "ali_ccp_text" else []
    assert [n for n, column in zip(names, categories.T, strict=True) if column.max() < 0] == empty
