"""A small night of conversions through all jobs: its tables, gates, page and readers, and the same night again."""

from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from jobs.conversion import evaluate_conversions, score_conversions, write_pseudo_labels
from roilake.lake import report_name
from roilake.pipelines.conversion import PIPELINE
from roilake.pipelines.conversion.config import ConversionScoringConfig
from roilake.reading import read, read_arrow
from roilake.report import compare, night_summary, nights, print_comparison, print_summary, run_rows
from tests.conversion.conftest import Night
from tests.conversion.small import DS, MODELS, TEACHERS, table
from tests.nights import check_declared, check_published

pytestmark = pytest.mark.slow
GATES = {
    "shuffled_labels", "leak", "no_shared_impressions", "labels_known_by_the_end", "impressions_before_end",
    "splits_in_time", "models_before_validation", "truth_unseen", "tables_filled", "steps_in_order", "rows_reconcile",
    "keys_kept", "models_evaluated", "scores_complete", "scores_are_probabilities", "pseudo_labels_complete",
}  # fmt: skip


def test_the_night_is_published_after_all_gates(night: Night) -> None:
    check_published(night.lake, PIPELINE, night.results, GATES)
    published = night.lake.publication("conversion")
    assert published is not None and published.ds == DS
    assert {*published.versions} == {
        "impressions", "conversion_truth", "pseudo_labels", "models", "cvr_scores", "pair_scores", "metrics", "gates",
        "runs", "node_ids",
    }  # fmt: skip


def test_steps_read_and_write_what_they_declare(night: Night) -> None:
    check_declared(PIPELINE, night.results)


def test_only_the_evaluator_reads_the_truth(night: Night) -> None:
    readers = {step for step, result in night.results.items() if "conversion_truth" in result.inputs}
    assert readers == {"evaluate_conversions", "publish_night"}


def test_every_model_scores_every_impression_that_is_judged(night: Night) -> None:
    judged = table(night.lake, "impressions", split=["validation", "test", "unbiased"])
    for model in (*MODELS, *TEACHERS):
        scores = table(night.lake, "cvr_scores", model=model)
        assert sorted(scores["impression_id"].to_pylist()) == sorted(judged["impression_id"].to_pylist())
        pcvr = scores["pcvr"].to_numpy()
        assert ((pcvr > 0) & (pcvr < 1)).all() and pcvr.std() > 1e-4
        clicks = model != "naive"
        assert (scores["pctr"].null_count == 0) == clicks and (scores["pctcvr"].null_count == 0) == clicks
        if clicks:
            assert np.allclose(scores["pctr"].to_numpy() * pcvr, scores["pctcvr"].to_numpy(), rtol=0, atol=1e-12)
        assert (scores["uncertainty"].null_count == 0) == (model == "ukd")
        run = night.results["train_cvr"].run_id  # the same as that of the teachers
        assert set(scores["version"].to_pylist()) == {f"{model}@{DS}/{run}"}


def test_every_pair_has_the_probabilities_that_its_impressions_have(night: Night) -> None:
    """The generated log has no fields beside the ids, so a pair is scored as its impressions are."""
    ids = {(row["node_type"], row["key"]): row["id"] for row in table(night.lake, "node_ids").to_pylist()}
    pairs = table(night.lake, "pair_scores")
    users, items = ({n for (kind, _), n in ids.items() if kind == side} for side in ("user", "item"))
    assert len(pairs) == len(users) * len(items) == pairs.group_by(["user", "item"]).aggregate([]).num_rows
    scored = {(row["user"], row["item"]): row for row in pairs.to_pylist()}
    shown = table(night.lake, "cvr_scores", model=night.config.default_model).to_pylist()
    assert len(shown) > 1500
    for row in shown:
        pair = scored[ids["user", row["user"]], ids["item", row["item"]]]
        assert (pair["pctr"], pair["pcvr"]) == pytest.approx((row["pctr"], row["pcvr"]), rel=1e-5)
        assert pair["version"] == row["version"]
    files = night.lake.active_files("pair_scores")
    assert len(files) == -(-len(pairs) // (1 << 20))
    for file in files:  # as readers want them: by user, in row groups of few users
        rows = pq.read_table(file.path, columns=["user", "item"], partitioning=None)
        assert rows.equals(rows.sort_by([("user", "ascending"), ("item", "ascending")]))


def test_too_many_pairs_are_not_scored(night: Night) -> None:
    few = night.config.model_copy(update={"scoring": ConversionScoringConfig(max_pairs=1000)})
    try:
        score_conversions.run(night.lake, few, DS)
        assert table(night.lake, "pair_scores", ds=DS).num_rows == 0
    finally:
        score_conversions.run(night.lake, night.config, DS)


def test_the_teacher_labels_what_nobody_clicked_and_the_student_hears_it(night: Night) -> None:
    labels = table(night.lake, "pseudo_labels")
    unclicked = table(night.lake, "impressions", split="train", labelled=0)
    same = ["impression_id", "categories", "sampling_rate", "shard"]
    order = [("impression_id", "ascending")]
    assert labels.sort_by(order).select(same).equals(unclicked.sort_by(order).select(same))
    assert set(labels["teacher"].to_pylist()) == {"both"}  # nobody listens to a member alone
    details = night.results["write_pseudo_labels"].details
    say = details["ensembles"]["both"]
    assert {*say} == {*TEACHERS} and sum(say.values()) == pytest.approx(1, abs=1e-3)
    auc = {n: f["metrics"]["auc"] for n, f in night.results["train_cvr_teacher"].details["models"].items()}
    assert max(say, key=say.__getitem__) == max(auc, key=auc.__getitem__)
    assert pc.min(labels["disagreement"]).as_py() >= 0 and pc.max(labels["disagreement"]).as_py() > 0
    figures = details["teachers"]["both"]
    assert figures["rows"] == len(labels)
    assert figures["mean_probability"] == pytest.approx(pc.mean(labels["probability"]).as_py())
    models = {row["name"]: row for row in table(night.lake, "models").to_pylist()}
    assert {*models} == {*MODELS, *TEACHERS}
    parents = {name: json.loads(row["parents"]) for name, row in models.items()}
    assert parents["ukd"]["teacher"] == "both" and "teacher" not in parents["base"]
    assert "pseudo_labels" in parents["ukd"]["tables"]
    assert "pseudo" in night.results["train_cvr"].details["models"]["ukd"]["terms"]


def test_metrics_are_those_of_the_tables(night: Night) -> None:
    rows = {(r["model"], r["split"], r["slice"], r["metric"]): r for r in table(night.lake, "metrics").to_pylist()}
    clicked = table(night.lake, "impressions", split="test", labelled=1).select(["impression_id", "conversion"])
    test = clicked.to_pandas().set_index("impression_id")
    drawn = table(night.lake, "conversion_truth").to_pandas().set_index("impression_id")
    for model in MODELS:
        scores = table(night.lake, "cvr_scores", model=model).to_pandas().set_index("impression_id")
        clicks = roc_auc_score(test["conversion"], scores.loc[test.index, "pcvr"])
        assert rows[model, "test", "clicked", "auc"]["value"] == pytest.approx(clicks)
        pairs = scores[scores["split"] == "unbiased"]
        p = drawn.loc[pairs.index, "conversion_probability"].to_numpy()
        labels, both = np.repeat([1, 0], len(p)), np.tile(pairs["pcvr"], 2)
        expected = roc_auc_score(labels, both, sample_weight=np.concatenate([p, 1 - p]))
        assert rows[model, "unbiased", "all", "auc"]["value"] == pytest.approx(expected)
        ratio = pairs["pcvr"].sum() / p.sum()
        assert rows[model, "unbiased", "all", "calibration_ratio"]["value"] == pytest.approx(ratio)
        assert ("delta_vs_default" in {place[2] for place in rows if place[0] == model}) == (model != "ukd")
    bins = {place[2] for place in rows if place[:2] == ("ukd", "unbiased") and place[2].startswith("calib")}
    assert len(bins) == 10


def test_readers_see_the_tables(night: Night) -> None:
    folder = night.lake.folder
    scores = read("cvr_scores", lake=folder, columns=["impression_id", "pcvr"], where={"model": "ukd"})
    assert len(scores) == night.results["score_conversions"].rows_in
    assert read_arrow("impressions", lake=folder, where={"split": "unbiased"}).num_rows == 1500


def test_the_page_tells_what_a_night_of_conversions_did(night: Night) -> None:
    page = night.lake.files.read_text(report_name("conversion", DS))
    told = (
        "Published: ", "scores by 5 models", "both (", "CTCVR AUC", "Calibration, all pairs", "Calibration, test days",
        "Pairs drawn at random", "domain AUC", "impressions, drawn at random", "conversions, train",
        "Validation by step", "build_impressions", "not clicked", "No row was rejected",
    )  # fmt: skip
    assert [word for word in told if word not in page] == []
    assert "events" not in page and "Negatives" not in page


def test_commands_know_the_night(night: Night) -> None:
    lake, out = night.lake, Console(file=StringIO(), width=140)
    summary = night_summary(lake, night.config, DS, run_id="r", seconds=1.0, published=True)
    assert {*summary["metrics"]["base"]} == {"unbiased", "test"}
    assert {"auc", "ctcvr_auc", "calibration_ratio"} <= summary["metrics"]["base"]["test"].keys()
    print_summary(lake, summary, night.config, out)
    found = compare(lake, str(DS), str(DS))
    print_comparison(found, out)
    assert all(change.value == 0 for change in found.changes)
    assert {change.slice for change in found.changes} == {"all pairs", "test days"}
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "Pairs drawn at random" in text and "CTCVR AUC, test days" in text
    rows = run_rows(lake, DS)
    assert [row["step"] for row in rows] == [*PIPELINE.step_names]
    assert nights(rows, lake.publications())[0]["status"] == "succeeded"


def test_the_same_night_again_gives_the_same_tables(night: Night) -> None:
    """All steps but training, which has tests of its own for that."""
    names = ("pseudo_labels", "cvr_scores", "pair_scores", "metrics")
    before = {name: table(night.lake, name) for name in names}
    for step in (write_pseudo_labels, score_conversions, evaluate_conversions):
        step.run(night.lake, night.config, DS)
    for name in names:
        assert table(night.lake, name).equals(before[name]), name


def test_a_sample_of_impressions_is_judged_alike(night: Night) -> None:
    evaluation = night.config.evaluation.model_copy(update={"max_impressions": 400})
    config = night.config.model_copy(update={"evaluation": evaluation})
    try:
        result = evaluate_conversions.run(night.lake, config, DS)
        assert 0 < result.details["shares"]["unbiased"] == pytest.approx(400 / 1500)
        metrics = table(night.lake, "metrics", model="ukd", split="unbiased", slice="all", metric="auc").to_pylist()
        assert 300 < metrics[0]["n"] < 500 and abs(metrics[0]["value"] - 0.5) < 0.5
    finally:
        evaluate_conversions.run(night.lake, night.config, DS)
