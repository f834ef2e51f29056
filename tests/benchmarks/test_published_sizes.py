"""The page on paper holds what the rates give."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.benchmarks import published_sizes
from tests.benchmarks.published_sizes import Reckoned, Size, table


def test_the_page_holds_the_table_of_today() -> None:
    page = (Path(__file__).parents[2] / "SCALE.md").read_text()
    assert table() in page, "put what `python -m tests.benchmarks.published_sizes` prints into SCALE.md"


def test_work_is_a_rate_times_a_size() -> None:
    rates = yaml.safe_load(Path(published_sizes.__file__).with_name("measured.yaml").read_text())
    small, large = (Reckoned(Size(nodes, 100 * nodes), rates) for nodes in (1e6, 1e9))
    assert (small.plan, large.plan) == ("local", "shuffled")
    assert small.graph == pytest.approx(1e8 * 1.33e-6 / 3600)
    assert large.graph == pytest.approx(1000 * small.graph)
    assert large.rois > 1000 * small.rois, "the shuffled plan is slower"
    assert large.shuffled == pytest.approx(1e11 * 26.3 + 1.078e9 * 1043 + 1e9 * 1526)
    assert small.machines == 1 < large.machines
