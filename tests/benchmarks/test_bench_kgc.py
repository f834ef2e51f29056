"""The benchmark of knowledge graphs: its data, its resumed runs, and its triple classification by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from roilake.pipelines.knowledge_graph import models
from tests.benchmarks import bench_kgc
from tests.benchmarks.kgc_classes import classified
from tests.benchmarks.kgc_data import SETS, KgData, load
from tests.benchmarks.kgc_fit import Setting
from tests.benchmarks.kgc_settings import ABLATIONS, SETTINGS
from tests.knowledge_graph.small_kg import SCRATCH, small_kg

DATA = Path(os.environ.get("ROILAKE_DATA", "../shared/data"))
SIZES = {
    "umls": (135, 46, 5216, 652, 661),
    "codex_s": (2034, 42, 32888, 1827, 1828),
    "wn18rr": (40943, 11, 86835, 3034, 3134),
}


@pytest.mark.skipif(not (DATA / "umls").exists(), reason="no data")
@pytest.mark.parametrize("name", SETS)
def test_sizes_are_the_published_ones(name: str) -> None:
    data = load(name)
    graph = data.graph
    found = (graph.entities, graph.relations, len(graph.train_E3), len(data.valid_E3), len(data.test_E3))
    assert found == SIZES[name] and all(graph.entity_text)
    assert (data.negative is not None) == (name == "codex_s")


def small() -> KgData:
    graph = small_kg()
    seen = replace(graph, train_E3=graph.train_E3[:30])
    return KgData("small", seen, graph.train_E3[30:36], graph.train_E3[36:], None)


def test_runs_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "simkgc": Setting("simkgc", SCRATCH, 2, 16, 1, rerank=True),
        "compl_ex": Setting("compl_ex", {"width": 8}, 2, 16, 1),
    }
    monkeypatch.setitem(SETTINGS, "small", settings)
    path = tmp_path / "bench" / "kgc.jsonl"
    runs = bench_kgc.Runs(path)
    first = bench_kgc.benchmark(runs, small(), [*settings, "hybrid"], ["no_margin", "no_reranking"])
    assert list(first) == ["simkgc", "compl_ex", "hybrid", "no_margin", "no_reranking"]
    assert all(set(metrics) == {"mrr", "hits@1", "hits@3", "hits@10"} for metrics in first.values())
    monkeypatch.setattr(bench_kgc, "fit", None)  # nothing may be trained again
    again = bench_kgc.benchmark(bench_kgc.Runs(path), small(), [*settings, "hybrid"], ["no_margin", "no_reranking"])
    assert again == first and len(path.read_text().splitlines()) == 4


def test_settings_and_ablations_are_valid() -> None:
    for settings in SETTINGS.values():
        for setting in settings.values():
            models.check(setting.kind, setting.options)
        for name in ABLATIONS:
            changed = settings["simkgc"].with_options(**ABLATIONS[name])
            models.check(changed.kind, changed.options)
            assert (changed.checked == settings["simkgc"].checked) == (name in ("no_pre_batch", "no_reranking"))


@dataclass
class ByTail:
    """The score of a triple is that of its tail."""

    score_N: Tensor

    def all_scores(self, head_q: Tensor, relation_q: Tensor) -> Tensor:
        return self.score_N.expand(len(head_q), -1)


def test_a_threshold_for_each_relation() -> None:
    """Relation 0 is true from 0.5 on, relation 1 from 2 on, by validation; of four on test one is wrong."""
    scores = ByTail(torch.tensor([0.2, 0.5, 1.5, 2.0]))
    valid = torch.tensor([[0, 0, 1], [0, 1, 3]]), torch.tensor([[0, 0, 0], [0, 1, 2]])
    test = torch.tensor([[1, 0, 2], [1, 1, 2]]), torch.tensor([[1, 0, 0], [1, 1, 1]])
    data = replace(small(), valid_E3=valid[0], test_E3=test[0], negative=(valid[1], test[1]))
    assert classified(data, scores) == {"accuracy": 0.75, "f1": pytest.approx(2 / 3)}
