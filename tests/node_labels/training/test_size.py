"""What a whole graph takes in training is known before: by model, and by the memory that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roilake import memory
from roilake.config.base import ModelConfig
from roilake.errors import ConfigError
from roilake.pipelines.node_labels import models
from roilake.pipelines.node_labels.training.size import GraphSize, bound_of, fits
from tests.node_labels.small import night_of
from tests.node_labels.small_graph import small_graph

CORA = GraphSize(2708, 10_556, 1430, 49_216, 64, 64, 120_000)
LARGE = GraphSize(10**8, 10**9, 10**5, 10**9, 64, 64, 10**13)
MEASURED = GraphSize(60_000, 119_994, 1000, 600_000, 64, 64, 400_000)
PEAKS = {"mlp": 276, "gcn": 323, "gat": 379, "graphsage": 426, "gpr_gnn": 328, "gcn_sep": 892, "gat_sep": 908}


def size_of(kind: str, size: GraphSize, **options: Any) -> float:
    return size.training_bytes(ModelConfig(kind=kind, options=options), 10) / 1e6


@pytest.mark.parametrize(("kind", "options", "peak"), [
    *((kind, {}, peak) for kind, peak in PEAKS.items()),
    ("mwgnn", {}, 1906), ("mwgnn", {"layers": 5}, 3615), ("mwgnn", {"hidden": 128}, 3066),
])  # fmt: skip
def test_it_is_near_what_two_steps_took(kind: str, options: dict[str, Any], peak: int) -> None:
    """MB more than before the graph was made, of a process of its own, on a random graph of that size."""
    assert 0.85 * peak < size_of(kind, MEASURED, **options) < 1.6 * peak


def test_a_small_graph_fits_and_a_large_one_does_not(tmp_path: Path) -> None:
    config = night_of(tmp_path)
    assert fits(CORA, config, 7) and not fits(LARGE, config, 7)


def test_the_config_may_forbid_either(tmp_path: Path) -> None:
    assert not fits(CORA, night_of(tmp_path, training={"trees": {"use": "always"}}), 7)
    night = night_of(tmp_path, training={"trees": {"use": "never"}, "workers": 2, "memory_gb": 16})
    assert fits(CORA, night, 7)
    with pytest.raises(ConfigError, match=r"training: mwgnn on the whole graph .* each of 2 workers, more than 16\.0"):
        fits(LARGE, night, 7)


def test_workers_share_half_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "installed", lambda: 32 * 10**9)
    assert bound_of(night_of(tmp_path, training={"workers": 4}).training) == 4e9


def test_second_neighbours_count_where_a_model_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size_of("h2gcn", LARGE) - size_of("graphsage", LARGE) > 100 * 10**13 / 1e6 / 2
    monkeypatch.setattr(memory, "installed", lambda: 10_000)
    with pytest.raises(ConfigError, match=r"h2gcn would lay out up to [\d,]+ pairs of nodes two hops apart"):
        models.build("h2gcn", {}, models.GraphShape.of(small_graph(), 3))(small_graph())


def test_a_container_has_what_it_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMIT", limit)
    whole = memory.installed()
    for text, expected in (("max\n", whole), ("12345\n", 12345), (str(10**18), whole)):
        limit.write_text(text)
        assert memory.installed() == expected
