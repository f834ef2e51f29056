"""A night is published whole or not at all: audits, crashes before the last commit, reruns, and the final
summary."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date, timedelta

import pyarrow as pa
import pytest
from rich.console import Console

from jobs.retrieval import evaluate_models, score_requests
from roilake import read
from roilake.errors import AuditError
from roilake.lake import Lake, Publication, Run
from roilake.metrics.gates import Measured
from roilake.pipelines.retrieval import PIPELINE
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.report import night_summary, print_summary, report_path, to_json
from roilake.runtime import publish as publish_night
from roilake.runtime.audit import check_balance, check_evaluated, stale_steps, steps_again
from tests.retrieval.scoring.small_night import DS, USERS, own, small_config, write_run, write_small_night

NEXT = DS + timedelta(days=1)
Night = Callable[[date], RetrievalConfig]


def last(lake: Lake) -> Publication | None:
    return lake.publication("retrieval")


@pytest.fixture
def night(lake: Lake, make_run: Callable[..., Run]) -> Night:
    """Does all of a night but its publication."""

    def prepare(ds: date) -> RetrievalConfig:
        config = small_config()
        write_small_night(lake, make_run, config, ds)
        evaluate_models.run(lake, config, ds)
        score_requests.run(lake, config, ds)
        return config

    return prepare


def test_a_night_is_published_and_summed_up(lake: Lake, night: Night, make_run: Callable[..., Run]) -> None:
    config = night(DS)
    result = publish_night.run(lake, config, DS)
    published = last(lake)
    assert published is not None
    assert (published.pipeline, published.ds, published.run_id) == ("retrieval", DS, result.run_id)
    assert published.versions["recommendations"] == lake.version("recommendations")
    assert RetrievalConfig.model_validate_json(published.config) == config
    page = report_path(lake, "retrieval", DS).read_text()
    assert "Published" in page
    assert "interest_dot" in page

    summary = night_summary(lake, config, DS, run_id=result.run_id, seconds=3.21, published=True)
    assert list(summary) == ["pipeline", "ds", "published", "run_id", "seconds", "report", "tables", "metrics"]
    assert json.loads(to_json(summary))["metrics"]["popularity"].keys() == {
        "auc", "auc_popularity_negatives", "auc_in_query", "hit_rate@1", "hit_rate@5", "ndcg@5",
    }  # fmt: skip
    assert summary["tables"] == published.versions
    console = Console(file=io.StringIO(), width=160)
    print_summary(lake, summary, config, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Night of 2020-01-10: published in 3 s" in text
    assert text.index("interest_dot") < text.index("popularity")
    assert (lake.folder / "reports" / "retrieval" / f"{DS}.txt").read_text().count("interest_dot") == 1
    own_row = read("runs", lake=lake.folder, pipeline="retrieval", ds=DS, where={"step": "publish_night"})
    assert list(own_row["status"]) == ["succeeded"] and list(own_row["run_id"]) == [result.run_id]

    # A failed attempt to publish it again has a page of its own, which goes when a later one is published.
    write_run(lake, make_run, DS, "build_rois", inputs={"adjacency": 0}, outputs={"rois": lake.version("rois")})
    with pytest.raises(AuditError, match=f"readers still see this night as run {result.run_id} published it"):
        publish_night.run(lake, config, DS)
    failed = report_path(lake, "retrieval", DS, published=False)
    assert report_path(lake, "retrieval", DS).read_text() == page and last(lake) == published
    assert "Not published" in failed.read_text() and "readers still see this night as run" in failed.read_text()
    attempt = night_summary(lake, config, DS, run_id=result.run_id, seconds=3.21, published=False)
    assert attempt["report"] == str(failed) != summary["report"]
    write_run(lake, make_run, DS, "build_rois", outputs={"rois": lake.version("rois")})
    publish_night.run(lake, config, DS)
    assert sorted(each.name for each in failed.parent.iterdir()) == [f"{DS}.html", f"{DS}.txt"]


def test_a_crash_leaves_the_night_before_and_the_rerun_completes(
    lake: Lake, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_night.run(lake, night(DS), DS)
    config = night(NEXT)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("crash")

    for owner, point in ((publish_night, "gather"), (publish_night, "write_page"), (Lake, "publish")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, point, crash)
            with pytest.raises(KeyboardInterrupt, match="crash"):
                publish_night.run(lake, config, NEXT)
        before = last(lake)
        assert before is not None
        assert before.ds == DS
        seen = lake.to_arrow("recommendations", before.versions["recommendations"])
        assert set(seen["ds"].to_pylist()) == {DS}
    publish_night.run(lake, config, NEXT)
    now = last(lake)
    assert now is not None
    assert now.ds == NEXT
    assert "since 2020-01-10" in report_path(lake, "retrieval", NEXT).read_text()


def test_a_failed_audit_publishes_nothing_and_says_why(lake: Lake, night: Night, make_run: Callable[..., Run]) -> None:
    config = night(DS)
    metrics = lake.to_arrow("metrics", lake.version("metrics"))
    leaky = pa.array([0.997] * metrics.num_rows)
    where, run = {"ds": DS}, own(make_run(DS))
    lake.write("metrics", metrics.set_column(metrics.column_names.index("value"), "value", leaky), where=where, run=run)
    best = lake.to_arrow("recommendations", lake.version("recommendations"))
    lake.write("recommendations", best.filter(pa.compute.not_equal(best["rank"], 3)), where=where, run=run)
    write_run(lake, make_run, DS, "build_rois", status="failed")
    with pytest.raises(AuditError) as caught:
        publish_night.run(lake, config, DS)
    message = str(caught.value)
    assert "\n" not in message
    assert "leak: test auc of popularity is 0.9970" in message and "must be at most 0.99; likely a leak" in message
    assert f"recommendations: {USERS} requests with gaps or doubles in their ranks, must be 0" in message
    assert f"{USERS} requests with fewer than 5 or more than 5 rows" in message
    assert "build_rois: status is failed, must be succeeded" in message
    assert last(lake) is None
    assert not report_path(lake, "retrieval", DS).exists()
    page = report_path(lake, "retrieval", DS, published=False).read_text()
    assert "Not published" in page and "readers still see no night at all" in page
    assert "likely a leak" in page
    runs = lake.to_arrow("runs", lake.version("runs"), filters={"step": "publish_night"}).to_pylist()
    assert [row["status"] for row in runs] == ["failed"]
    assert not night_summary(lake, config, DS, run_id="r", seconds=1, published=False)["published"]


def run_row(step: str, **changes: object) -> dict:
    row = {"step": step, "status": "succeeded", "rows_in": 7, "rows_out": 4, "rows_quarantined": 1, "rows_later": 2}
    row |= {"inputs": {}, "outputs": {}} | changes
    return row | {name: json.dumps(row[name]) for name in ("inputs", "outputs")}


def never(table: str, first: int, second: int) -> bool:
    return False


def test_steps_must_have_read_what_was_written_last() -> None:
    rows = {step.name: run_row(step.name) for step in PIPELINE.steps}
    assert list(stale_steps(list(rows.values()), PIPELINE, {}, never)) == []
    rows["build_graph"] = run_row("build_graph", outputs={"adjacency": 7})
    rows["build_rois"] = run_row("build_rois", inputs={"adjacency": 6, "requests": 2})
    old = ("build_rois", "read adjacency version 6, not build_graph's 7")
    assert list(stale_steps(list(rows.values()), PIPELINE, {"adjacency": 7}, never)) == [old]
    assert list(stale_steps(list(rows.values()), PIPELINE, {}, lambda *versions: versions == ("adjacency", 6, 7))) == []
    del rows["train_models"]
    assert list(stale_steps(list(rows.values()), PIPELINE, {"adjacency": 9}, never)) == [
        old,
        ("train_models", "status is missing, must be succeeded"),
        ("build_graph", "wrote adjacency version 7, and version 9 has other rows of the night"),
    ]


def test_what_read_a_stale_step_runs_again_too() -> None:
    after = ["train_models", "evaluate_models", "score_requests", "publish_night"]
    assert steps_again(["build_rois"], PIPELINE) == ["build_rois", *after]
    assert steps_again(["evaluate_models"], PIPELINE) == after[1:]


def test_rows_must_add_up() -> None:
    rows = [run_row("ingest_events", rows_in=6), run_row("build_graph", rows_in=99)]
    assert list(check_balance(rows, PIPELINE)) == [
        "ingest_events: 6 rows in, but 4 out, 1 quarantined, 2 later than the night; they must add up"
    ]


def test_every_model_must_have_been_evaluated() -> None:
    row = {"split": "test", "slice": "all", "model": "a", "metric": "auc", "value": 0.9}
    assert list(check_evaluated(Measured.of(DS, [row]), ("a",), PIPELINE)) == []
    assert "metrics of b: 0 test metrics" in next(check_evaluated(Measured.of(DS, [row]), ("a", "b"), PIPELINE))
    undefined = Measured.of(DS, [{**row, "value": None}])
    assert "metrics of a: 0 test metrics" in next(check_evaluated(undefined, ("a",), PIPELINE))
