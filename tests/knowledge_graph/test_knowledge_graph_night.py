"""A small night of the knowledge graph through all jobs: its tables, gates, page and readers, and the same night
again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.knowledge_graph import complete_triples, embed_entities
from roilake.lake import Lake, report_name
from roilake.metrics.slices import ALL
from roilake.pipelines.knowledge_graph import PIPELINE
from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig
from roilake.reading import read
from roilake.runtime.night import run_night
from roilake.runtime.step import StepResult
from tests.knowledge_graph.small import DS, FILMS, GENRES, PEOPLE, night_of, write_graph
from tests.nights import check_declared, check_published

GATES = {
    "shuffled_labels", "facts_in_one_split", "entities_have_vectors", "completed_edges_are_new",
    "completed_edges_in_order", "tables_filled", "steps_in_order", "rows_reconcile", "keys_kept", "models_evaluated",
}  # fmt: skip
SIMKGC = {"encoder": "scratch", "text_width": 16, "hidden": 16, "width": 16, "layers": 1}
MODELS = {
    "compl_ex": {"kind": "compl_ex", "learning_rate": 0.05, "options": {"width": 32}},
    "simkgc": {"kind": "simkgc", "learning_rate": 0.005, "epochs": 10, "options": SIMKGC, "rerank": True},
}
Night = tuple[Lake, KnowledgeGraphConfig, dict[str, StepResult]]


@pytest.fixture(scope="module")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder: Path = tmp_path_factory.mktemp("knowledge")
    write_graph(folder)
    hybrids = {"hybrid": {"text": "simkgc", "structure": "compl_ex"}}
    config = night_of(folder, models=MODELS, hybrids=hybrids, default_model="hybrid")
    lake = Lake.open(spark, folder / "lake", create=True)
    return lake, config, {result.step: result for result in run_night(lake, config, DS)}


def test_the_night_is_published_after_all_gates(night: Night) -> None:
    lake, _, results = night
    check_published(lake, PIPELINE, results, GATES)


def test_steps_read_and_write_what_they_declare(night: Night) -> None:
    check_declared(PIPELINE, night[2])


def test_every_entity_has_its_text_and_its_vector(night: Night) -> None:
    lake, _, _ = night
    rows = read("entities", lake=lake.path).sort_values("entity")
    assert [*rows["entity"]] == [*range(FILMS + len(GENRES) + PEOPLE)] and (rows["text"] != "").all()
    vectors = np.stack(rows["vector"])
    assert vectors.shape == (len(rows), 16 + 32) and np.isfinite(vectors).all()  # of both parts of the hybrid
    known = read("triples", lake=lake.path)
    for key, triples in zip(rows["key"], rows["triples"], strict=True):
        assert triples == ((known["head"] == key) | (known["tail"] == key)).sum()


def test_completed_edges_are_new_ranked_and_of_the_relations_range(night: Night) -> None:
    lake, config, _ = night
    rows, known = read("completed_edges", lake=lake.path), read("triples", lake=lake.path)
    facts = set(zip(known["head"], known["relation"], known["tail"], strict=True))
    assert not facts & set(zip(rows["head"], rows["relation"], rows["tail"], strict=True))
    assert {*rows["model"]} == {f"hybrid@{DS}"} and {*rows["sought"]} == {"tail"}
    genres = rows[rows["relation"] == "has_genre"]
    assert {*genres["head"]} == {f"f{film}" for film in range(FILMS)} and {*genres["tail"]} <= {*GENRES}
    for _, group in rows.groupby(["head", "relation"]):
        ordered = group.sort_values("rank")
        assert [*ordered["rank"]] == [*range(1, len(group) + 1)] and len(group) <= config.completion.top
        assert ordered["score"].is_monotonic_decreasing and group["probability"].between(0, 1).all()


def test_models_have_learnt_and_the_hybrid_is_measured_beside_them(night: Night) -> None:
    lake, config, _ = night
    metrics = lake.to_arrow("metrics", lake.version("metrics")).to_pylist()
    found = {
        (row["model"], row["slice"]): row["value"] for row in metrics
        if (row["split"], row["metric"]) == ("test", "filtered_mrr")
    }  # fmt: skip
    assert {model for model, _ in found} == {*config.evaluated}
    chance = sum(1 / rank for rank in range(1, 76)) / 75
    assert all(found[model, ALL] > 2 * chance for model in config.evaluated)
    for model in config.evaluated:
        sides = [found[model, f"sought={side}"] for side in ("tail", "head")]
        assert found[model, ALL] == pytest.approx(sum(sides) / 2)
    slices = {"relation=has_genre", "relation=madeBy", "answer=seen", "delta_vs_default on sought=tail"}
    assert {name for _, name in found} >= slices


def test_the_page_shows_facts_and_examples(night: Night) -> None:
    lake, _, _ = night
    page = Path(lake.files.local(report_name("knowledge_graph", DS))).read_text()
    for text in ("Known facts by relation", "New facts to judge", "has_genre", "Film ", "Filtered MRR"):
        assert text in page


def test_the_same_night_again_is_the_same_tables(night: Night) -> None:
    lake, config, results = night
    again = {result.step: result for result in run_night(lake, config, DS)}
    for step in PIPELINE.steps:
        assert again[step.name].outputs == results[step.name].outputs, step.name


def test_heads_are_named_for_tails_in_the_direction_of_the_fact(night: Night) -> None:
    lake, config, _ = night
    asked = config.completion.model_copy(update={"sought": ("head",), "relations": ("has_genre",), "named": "all"})
    changed = config.model_copy(update={"completion": asked})
    embed_entities.run(lake, changed, DS)
    complete_triples.run(lake, changed, DS)
    rows = lake.to_arrow("completed_edges", lake.version("completed_edges"), filters={"ds": DS}).to_pandas()
    assert {*rows["tail"]} == {*GENRES} and {*rows["sought"]} == {"head"} and len(rows) == 3 * len(GENRES)
    assert not {*rows["head"]} & {*GENRES}.intersection(rows["tail"][rows["head"] == rows["tail"]])
