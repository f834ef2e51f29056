"""What stops a night of conversions, or is told: leaks, nothing to learn from, teachers and vectors that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from safetensors.numpy import load_file, save_file

from jobs.conversion import build_impressions, train_cvr, train_cvr_teacher, write_pseudo_labels
from roilake.errors import AuditError, ConfigError, LakeError
from roilake.lake import TABLES, Lake, Publication, Run, report_name
from roilake.pipelines.conversion.config import ConversionConfig, GraphVectors
from roilake.pipelines.conversion.training.graph_vectors import write_graph_vectors
from roilake.pipelines.conversion.training.night import learnt_from
from roilake.pipelines.conversion.training.task import load_model
from roilake.runtime.night import run_night
from roilake.runtime.run import make_run
from roilake.runtime.step import Recorder
from tests.conversion.small import DS, generated_night, log_of, night_of, table


def test_a_label_among_the_features_stops_the_night(lake: Lake, tmp_path: Path) -> None:
    """Both: whether a click converts, and whether an impression is clicked."""
    context = {"answer": "bought", "clicked": "click"}
    config = night_of(tmp_path, log_of(), impressions={"fields": {"context": context}})
    with pytest.raises(AuditError, match="leak: test auc of base on clicked is") as stopped:
        run_night(lake, config, DS)
    assert "leak: test ctr_auc of base is" in str(stopped.value) and "likely a leak" in str(stopped.value)
    assert lake.publication("conversion") is None
    failed = {row["gate"] for row in table(lake, "gates").to_pylist() if not row["passed"]}
    assert failed == {"leak"}


def test_days_without_a_conversion_are_told_and_published(lake: Lake, tmp_path: Path) -> None:
    """Validation and test have clicks only: no AUC to choose the best step by, and none to tell."""
    log = log_of()
    early = pc.less(log["time"], str(DS - timedelta(days=3)))
    none = pc.if_else(early, log["bought"], 0)
    config = night_of(tmp_path, log.set_column(log.column_names.index("bought"), "bought", none))
    run_night(lake, config, DS)
    metrics = {(r["split"], r["slice"], r["metric"]): r["value"] for r in table(lake, "metrics").to_pylist()}
    assert metrics["test", "clicked", "auc"] is None and metrics["test", "clicked", "log_loss"] > 0
    assert metrics["test", "all", "ctr_auc"] is not None and lake.publication("conversion") is not None
    gates = [row for row in table(lake, "gates").to_pylist() if row["gate"] == "shuffled_labels"]
    assert all(row["passed"] and "no shuffled" in row["detail"] for row in gates)
    assert "Published" in lake.files.read_text(report_name("conversion", DS))


def test_nothing_to_learn_from_is_named(lake: Lake, tmp_path: Path) -> None:
    log = log_of(rows=300)
    nobody = log.set_column(log.column_names.index("bought"), "bought", pa.array(np.zeros(300, int)))
    config = night_of(tmp_path, nobody)
    build_impressions.run(lake, config, DS)
    with pytest.raises(LakeError, match=f"no conversion in split train of {DS}, so there is nothing to learn"):
        train_cvr_teacher.run(lake, config.model_copy(update={"teachers": config.models}), DS)
    with pytest.raises(LakeError, match="models' yet; run the job that writes it first"):
        train_cvr.run(lake, config, DS)
    late = night_of(tmp_path, log_of(days=3, rows=300))
    build_impressions.run(lake, late, DS)
    train_cvr_teacher.run(lake, late, DS)  # no teachers: nothing to do
    with pytest.raises(LakeError, match=f"no row in split train of {DS}; give the night more days"):
        train_cvr.run(lake, late, DS)


def test_a_student_whose_teacher_has_not_spoken_is_told_which_job_to_run(lake: Lake, tmp_path: Path) -> None:
    models = {"ukd": {"kind": "ukd", "teacher": "t"}}
    config = night_of(tmp_path, log_of(rows=300), models=models, teachers={"t": {"kind": "base"}}, default_model="ukd")
    build_impressions.run(lake, config, DS)
    with pytest.raises(LakeError, match="models' yet; run the job"):
        write_pseudo_labels.run(lake, config, DS)
    train_cvr_teacher.run(lake, config.model_copy(update={"teachers": {}}), DS)
    with pytest.raises(LakeError, match="no model 't' for 1998-03-28; run train_cvr_teacher for this night first"):
        write_pseudo_labels.run(lake, config, DS)
    write_pseudo_labels.run(lake, config.model_copy(update={"models": {}}), DS)  # nobody listens to anybody
    with pytest.raises(LakeError, match="none of teacher 't' for 1998-03-28; run write_pseudo_labels"):
        train_cvr.run(lake, config, DS)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"models": {"ukd": {"kind": "ukd"}}}, "models.ukd: kind 'ukd' learns from pseudo-labels; name its teacher"),
        (
            {"models": {"ukd": {"kind": "base", "teacher": "teacher"}}},
            "models.ukd: kind 'base' takes no teacher; remove teacher: teacher",
        ),
        (
            {"teachers": {"teacher": {"kind": "ukd", "teacher": "teacher"}}},
            "teachers.teacher: a teacher has no teacher",
        ),
        (
            {"teachers": {"teacher": {"kind": "base"}, "ukd": {"kind": "base"}}},
            "teachers: 'ukd' is the name of a model, too",
        ),
        ({"models": {"ukd": {"kind": "best"}}}, "unknown kind 'best': one of base, dcmt"),
        (
            {"models": {"ukd": {"kind": "ukd", "teacher": "teacher", "options": {"lambda_": 1}}}},
            "models: ukd: option 'lambda_'",
        ),
    ],
)
def test_models_and_teachers_that_do_not_fit_are_refused_first(sections: dict[str, Any], message: str) -> None:
    taught = {"ukd": {"kind": "ukd", "teacher": "teacher"}}
    whole = {"ensembles": {}, "teachers": {"teacher": {"kind": "base"}}, "models": taught, **sections}
    with pytest.raises(ConfigError, match=message):
        generated_night(**whole).check()


def test_a_ensemble_is_of_teachers() -> None:
    with pytest.raises(ValueError, match=r"ensembles\.both: 'naive' is no teacher; teachers are adversarial"):
        generated_night(ensembles={"both": ["adversarial", "naive"]})
    with pytest.raises(ValueError, match=r"ensembles\.product: is the name of a teacher, too"):
        generated_night(ensembles={"both": ["adversarial", "product"], "product": ["adversarial", "product"]})


@pytest.fixture
def with_vectors(lake: Lake, make_run: Callable[..., Run]) -> Lake:
    """A lake in which a retrieval night of 1998-03-01 has published vectors of two users and one item. Number 1 of the
    users is another pipeline's."""
    run = replace(make_run(date(1998, 3, 1), "publish_night"), pipeline="retrieval")
    nodes = [
        {"node_type": kind, "id": number, "key": key, "fields": [], "terms": []}
        for kind, number, key in (("user", 0, "u7"), ("user", 2, "u1"), ("user", 3, "new"), ("item", 0, "m3"))
    ]
    ids = [*nodes, {**nodes[0], "id": 1, "key": "u2"}]
    model = {"run_id": run.run_id, "config": "{}", "parents": "{}", "metrics": "{}", "train_end": run.ds}
    models = [{**model, "name": name, "path": f"trained/{name}"} for name in ("zoomer", "pop")]
    for name, rows in (("nodes", nodes), ("node_ids", ids), ("models", models)):
        held = pa.Table.from_pylist([{"ds": run.ds, **row} for row in rows], schema=TABLES[name].arrow_schema)
        lake.write(name, held, where={"ds": run.ds}, run=run)
    folder = lake.files.local("trained/zoomer")
    folder.mkdir(parents=True)
    vectors = {"user": np.arange(9, dtype=np.float32).reshape(3, 3), "item": np.ones((1, 3), np.float32)}
    save_file(vectors, folder / "interest.safetensors")
    versions = {name: lake.version(name) for name in ("nodes", "node_ids", "models")}
    lake.publish(Publication("retrieval", run.ds, run.run_id, versions, "{}", "v"), run)
    return lake


def test_graph_vectors_are_of_known_nodes_and_older_than_what_is_learnt(with_vectors: Lake, tmp_path: Path) -> None:
    config = generated_night()
    record = Recorder(with_vectors, config, make_run(config, DS, "train_cvr"), 0.0)
    found = load_file(write_graph_vectors(GraphVectors(), date(1998, 3, 2), tmp_path, record))
    assert found["user.categories"].tolist() == [0, 2]  # 1 is no node of that night, 3 came after its model
    assert found["user.vectors"].tolist() == [[0, 1, 2], [6, 7, 8]] and found["item.vectors"].shape == (1, 3)
    assert record.details["graph"] == "zoomer@1998-03-01/test-run"
    read = {"ds": "1998-03-01", "run_id": "test-run", "tables": {"models": 1, "nodes": 1}}
    assert record.upstreams == {"retrieval": read}
    missing = r"no retrieval night is published before 1998-03-01, .*run one first: roilake night"
    with pytest.raises(LakeError, match=missing):
        write_graph_vectors(GraphVectors(), date(1998, 3, 1), tmp_path, record)
    with pytest.raises(LakeError, match="no vectors of a model 'pop'; there are those of zoomer"):
        write_graph_vectors(GraphVectors(model="pop"), DS, tmp_path, record)


def test_a_model_may_know_graph_vectors(with_vectors: Lake, tmp_path: Path) -> None:
    lake, graph = with_vectors, {"workers": 1, "steps": 4, "clicks": 8, "impressions": 8, "graph": {}}
    config: ConversionConfig = night_of(tmp_path, log_of(), training=graph)
    assert config.upstreams == {"retrieval": True} and night_of(tmp_path, log_of()).upstreams == {}
    build_impressions.run(lake, config, DS)
    ids = {(r["node_type"], r["key"]): r["id"] for r in table(lake, "node_ids").to_pylist()}
    known = {("user", "u7"): 0, ("user", "u2"): 1, ("user", "u1"): 2, ("item", "m3"): 0}
    assert known.items() <= ids.items()
    users = {row["user"]: row["categories"][0] for row in table(lake, "impressions").to_pylist()}
    assert users == {key: number for (kind, key), number in ids.items() if kind == "user" and key != "new"}
    train_cvr_teacher.run(lake, config, DS)
    result = train_cvr.run(lake, config, DS)
    assert result.details["graph"] == "zoomer@1998-03-01/test-run"
    assert result.upstreams["retrieval"]["tables"] == {"models": 1, "nodes": 1}
    assert learnt_from(Recorder(lake, config, make_run(config, DS, "x"), 0.0)).first == date(1998, 3, 17)
    (row,) = table(lake, "models", pipeline="conversion").to_pylist()
    assert '"graph": "zoomer@1998-03-01/test-run"' in row["parents"]
    model, index = load_model(lake.files.local(row["path"]))
    rows = index.rows_of(np.array([[0, 0], [1, 1], [2, 0]], np.int32))
    vectors = model.state_dict()["embeddings.graph_user"]
    assert vectors[rows[:, 0]].tolist() == [[0, 1, 2], [0, 0, 0], [6, 7, 8]]
