"""Recommendations are the head of a full sort of every item, whatever the partitions; seen items can be left
out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import save_file

from jobs.retrieval import evaluate_models, score_requests
from roilake.errors import LakeError
from roilake.hashing import keyed_hash, uniform
from roilake.lake import Lake, Publication, Run
from roilake.metrics.ranking import draw_negatives
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph import last_model
from roilake.pipelines.retrieval.metrics import SLICES
from roilake.pipelines.retrieval.models import build, is_matrix_kind
from roilake.pipelines.retrieval.scoring import evaluate, open_night, with_days, write_index
from roilake.pipelines.retrieval.scoring.outcomes import head_items
from roilake.pipelines.retrieval.scoring.pinned import Night, Tower
from roilake.pipelines.retrieval.scoring.topk import top_k
from roilake.pipelines.retrieval.scoring.towers import Worker
from roilake.runtime.step import recorded
from tests.retrieval.scoring.small_night import (
    DIM,
    DS,
    ITEMS,
    USERS,
    WINDOWS,
    own,
    small_config,
    write_few_seen,
    write_small_night,
)

UNIX = datetime(1970, 1, 1)
SERVE = DS + timedelta(days=1)


def night_of(lake: Lake, config: RetrievalConfig) -> Night:
    with recorded(lake, config, DS, "test") as record:
        return open_night(record, config, tuple(config.models), WINDOWS)


def full_scores(night: Night, tower: Tower, as_of: object) -> dict[int, np.ndarray]:
    """Scores of every item by request id, from the model itself."""
    worker, found = Worker(night), {}
    for shard in night.shards:
        if shard.as_of == as_of:
            rows = worker.requests(shard, positives=True)
            if is_matrix_kind(tower.kind):
                scores = worker.fit(tower, as_of, print).scores(worker.history(tower, rows), 0, ITEMS).numpy()
            else:
                scores = (worker.embed(tower, as_of, rows) @ worker.embed_items(tower, as_of).T).numpy()
            found |= dict(zip(rows.root_R[: len(rows)].tolist(), scores, strict=True))
    return found


def recommendations(lake: Lake) -> dict[int, list[dict]]:
    rows = lake.to_arrow("recommendations", lake.version("recommendations"), filters={"ds": DS}).to_pylist()
    lists: dict[int, list[dict]] = {user: [] for user in range(USERS)}
    for row in sorted(rows, key=lambda row: row["rank"]):
        lists[int(row["user"][1:])].append(row)
    return lists


@pytest.fixture
def filled(lake: Lake, make_run: Callable[..., Run]) -> Lake:
    write_small_night(lake, make_run, small_config())
    return lake


def test_recommendations_are_the_head_of_the_full_order(filled: Lake) -> None:
    config = small_config()
    result = score_requests.run(filled, config, DS)
    assert (result.rows_in, result.rows_out) == (USERS, USERS * 5)
    night = night_of(filled, config)
    scores = full_scores(night, night.towers[0], SERVE)
    for user, rows in recommendations(filled).items():
        assert [row["title"] for row in rows] == [f"item {row['item'].removeprefix('i')}" for row in rows]
        expected = scores[SERVE.toordinal() * 100 + user]
        order = np.argsort(-expected, kind="stable")[:5]
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
        assert [row["item"] for row in rows] == [f"i{item}" for item in order]
        assert np.allclose([row["score"] for row in rows], expected[order], atol=1e-6)
        assert rows[0]["query"] == (None if user == USERS - 1 else f"q{user % 3}")
        assert rows[0]["model"] == f"interest_dot@{DS}"


def test_a_matrix_model_scores_by_who_had_what(lake: Lake, make_run: Callable[..., Run]) -> None:
    models = {"item_knn": {"kind": "item_knn"}}
    changes = {"scoring": {"top_k": 4}, "evaluation": {"seen": "drop"}}
    config = small_config(models=models, default_model="popularity", **changes)
    write_small_night(lake, make_run, config)
    had = [(user, item) for user, item, _ in write_few_seen(lake, make_run)]
    score_requests.run(lake, config, DS)
    users_of = np.bincount([item for _, item in had], minlength=ITEMS)
    for user, rows in recommendations(lake).items():
        order = [int(i) for i in np.argsort(-users_of, kind="stable") if (user, i) not in had][:4]
        assert [row["item"] for row in rows] == [f"i{item}" for item in order]
    night = night_of(lake, config)
    tower = next(tower for tower in night.towers if tower.name == "item_knn")
    scores = full_scores(night, tower, SERVE)
    # A user without a history.
    np.testing.assert_array_equal(scores[SERVE.toordinal() * 100 + USERS - 1], users_of)
    write_index(night, print)
    shard = next(shard for shard in night.shards if shard.as_of == SERVE)
    rows = Worker(night).requests(shard, positives=False)
    best, _ = top_k(Worker(night).scorer(tower, SERVE, rows), ITEMS)
    expected = [np.sort(scores[root])[::-1] for root in rows.root_R[:-1].tolist()]
    assert np.allclose(best.numpy(), expected)


def publish(lake: Lake, run: Run) -> None:
    versions = {table: lake.version(table) for table in ("models", "champions")}
    lake.publish(Publication("retrieval", DS, "r", versions, '{"default_model": "popularity"}', "v"), run)


def test_a_night_builds_on_a_model_that_makes_vectors(lake: Lake, make_run: Callable[..., Run]) -> None:
    config = small_config(models={"gat": {"kind": "gat"}}, default_model="popularity")
    write_small_night(lake, make_run, config)
    publish(lake, own(make_run()))
    found = last_model(lake, config, DS + timedelta(days=1))
    assert found is not None and found.name == "gat"
    none = config.model_copy(update={"models": {"popularity": config.models["popularity"]}})
    write_small_night(lake, make_run, none)
    publish(lake, own(make_run()))
    found = last_model(lake, none, DS + timedelta(days=1))
    assert found is not None and found.name == "popularity"


def test_a_night_that_chooses_builds_on_the_model_that_served(lake: Lake, make_run: Callable[..., Run]) -> None:
    models = {name: {"kind": name} for name in ("gat", "graphsage")}
    write_small_night(lake, make_run, small_config(models=models, default_model="graphsage"))
    publish(lake, own(make_run()))

    def base(*names: str, default: str = "best") -> str | None:
        config = small_config(models=models, default_model=default)
        chosen = dict.fromkeys(names, config.models["gat"])
        found = last_model(lake, config.model_copy(update={"models": chosen}), DS + timedelta(days=1))
        return found.name if found else None

    assert base("popularity", "gat", "graphsage") == "graphsage"
    assert base("popularity", "gat") == "gat" and base("popularity", "new") == "popularity"
    assert base("new") is None and base("gat", "graphsage", default="gat") == "gat"


def test_partitions_and_reruns_change_nothing(filled: Lake) -> None:
    config = small_config()
    score_requests.run(filled, config, DS)
    once = recommendations(filled)
    before = filled.spark.conf.get("spark.sql.shuffle.partitions")
    filled.spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        score_requests.run(filled, config, DS)
    finally:
        filled.spark.conf.set("spark.sql.shuffle.partitions", before)
    assert recommendations(filled) == once


@pytest.mark.parametrize("index", ["exact", "ivf"])
def test_seen_items_are_left_out_and_a_list_may_be_shorter(
    filled: Lake, make_run: Callable[..., Run], index: str
) -> None:
    events = write_few_seen(filled, make_run)
    config = small_config(scoring={"top_k": 50, "index": index}, evaluation={"seen": "drop"})
    result = score_requests.run(filled, config, DS)
    assert result.details["seen"]["rule"] == "drop"
    for user, rows in recommendations(filled).items():
        seen = {item for who, item, _ in events if who == user}  # the instant of what is served is the night's end
        assert bool(seen) == (user < USERS - 1) and (11 in seen or user != 0)
        assert {int(row["item"][1:]) for row in rows} == set(range(ITEMS)) - seen
        assert [row["rank"] for row in rows] == list(range(1, ITEMS - len(seen) + 1))


def test_a_model_that_was_not_trained_is_named(filled: Lake) -> None:
    config = small_config(models={"zoomer": {"kind": "interest_dot"}}, default_model="zoomer")
    with pytest.raises(LakeError, match="no model 'zoomer' for 2020-01-10; run train_models"):
        evaluate_models.run(filled, config, DS)
    config = small_config().model_copy(update={"models": {"zoomer": config.models["zoomer"]}})
    with pytest.raises(
        LakeError, match="'interest_dot' serves, and is no model of this config for 2020-01-10; run eval"
    ):
        score_requests.run(filled, config, DS)
    with pytest.raises(LakeError, match="no model is chosen for 2020-01-11; run evaluate_models"):
        score_requests.run(filled, config, SERVE)


def test_weights_that_are_missing_or_do_not_fit_are_named(lake: Lake, make_run: Callable[..., Run]) -> None:
    config = small_config(models={"no_graph": {"kind": "no_graph"}}, default_model="no_graph")
    write_small_night(lake, make_run, config)
    night = night_of(lake, config)
    tower = next(tower for tower in night.towers if tower.name == "no_graph")
    with pytest.raises(LakeError, match=r"weights.safetensors: missing; run train_models"):
        Worker(night).open(tower)
    Path(tower.folder).mkdir(parents=True)
    save_file({"other": torch.zeros(2)}, Path(tower.folder) / "weights.safetensors")
    with pytest.raises(LakeError, match="does not fit the night's config, run train_models again"):
        Worker(night).open(tower)


@pytest.mark.parametrize("seen", ["keep", "drop"])
def test_metrics_are_those_of_the_full_order(filled: Lake, make_run: Callable[..., Run], seen: str) -> None:
    config, events = small_config(evaluation={"seen": seen}), write_few_seen(filled, make_run)
    result = evaluate_models.run(filled, config, DS)
    rows = filled.to_arrow("metrics", filled.version("metrics")).to_pylist()
    assert result.rows_in == 2 * USERS
    found = {(r["model"], r["split"], r["slice"], r["metric"]): r for r in rows}
    night = night_of(filled, config)
    asked = {r["request_id"]: r for r in filled.to_arrow("requests", filled.version("requests")).to_pylist()}
    had = {
        root: {i for user, i, time in events if user == r["user"] and time < r["time"].replace(tzinfo=None)}
        for root, r in asked.items()
    } if seen == "drop" else {root: set() for root in asked}  # fmt: skip
    positives = {
        root: row[row >= 0]
        for shard in night.shards
        for rows_ in [Worker(night).requests(shard, positives=True)]
        for root, row in zip(rows_.root_R[:-1].tolist(), rows_.positives_RP[:-1], strict=True)
    }
    past = [root for root, r in asked.items() if r["split"] != "serve"]
    known = {root: len(had[root].intersection(positives[root].tolist())) for root in past}
    assert result.details["seen_positives"] == sum(known.values()) and (sum(known.values()) > 1) == (seen == "drop")
    alone = [root for root in past if known[root] == len(positives[root])]
    assert result.details["requests_left_out"] == len(alone) and bool(alone) == (seen == "drop")
    for tower in night.towers:
        for as_of, split in WINDOWS.items():
            if split == "serve":
                continue
            scores = full_scores(night, tower, as_of)
            judged = {root: row for root, row in scores.items() if root not in alone}
            expected = naive_metrics(judged, positives, had, config)
            expected["auc_in_query"] = naive_in_query(judged, positives, had, config, asked)
            for name, (value, n) in expected.items():
                row = found[tower.name, split, "all", name]
                assert row["value"] == pytest.approx(value, abs=1e-6), (tower.name, split, name)
                assert row["n"] == n
                assert row["low"] <= row["value"] <= row["high"]
    for metric in ("auc", "ndcg@5", "hit_rate@5"):
        ours, theirs = (found[name, "test", "all", metric]["value"] for name in ("interest_dot", "popularity"))
        paired = found["popularity", "test", "delta_vs_default", metric]
        assert paired["value"] == pytest.approx(theirs - ours, abs=1e-9)
        assert paired["low"] <= paired["value"] <= paired["high"]
    n = {name: found["interest_dot", "test", name, "hit_rate@5"]["n"] for name in SLICES}
    left_out = sum(known[root] for root in past if asked[root]["split"] == "test")
    assert n["cold_users"] == n["no_history"] == 3  # the last user has three positives and did nothing before
    assert n["warm_users"] == n["with_history"] == 9 - left_out
    cold = found["interest_dot", "test", "cold_users", "hit_rate@5"]
    assert cold["low"] is None  # one user alone gives no interval


def naive_metrics(scores: dict, positives: dict, had: dict, config: RetrievalConfig) -> dict[str, tuple[float, int]]:
    """AUC, hit rate and NDCG by loops over pairs and full sorts; what a request's user had is nowhere."""
    left = {root: [item for item in positives[root].tolist() if item not in had[root]] for root in scores}
    total = sum(map(len, left.values()))
    hits, gains = {1: 0, 5: 0}, []
    for root, row in scores.items():
        order = [item for item in np.argsort(-row, kind="stable").tolist() if item not in had[root]]
        own = left[root]
        for item in own:
            place = [other for other in order if other == item or other not in own].index(item) + 1
            hits = {k: hit + (place <= k) for k, hit in hits.items()}
        places = [order.index(item) + 1 for item in own]
        best = sum(1 / np.log2(1 + k) for k in range(1, min(5, len(own)) + 1))
        gains.append(sum(1 / np.log2(1 + place) for place in places if place <= 5) / best)
    found = {f"hit_rate@{k}": (hit / total, total) for k, hit in hits.items()}
    found["ndcg@5"] = (float(np.mean(gains)), len(scores))
    degrees = np.array([2.0 * (ITEMS - 1 - item) for item in range(ITEMS - 1)] + [0.0])
    for kind, (name, weights) in enumerate({"auc": np.ones(ITEMS), "auc_popularity_negatives": degrees}.items()):
        found[name] = (naive_auc(scores, positives, had, config, weights, kind), total)
    return found


def naive_auc(
    scores: dict, positives: dict, had: dict, config: RetrievalConfig, weights: np.ndarray, kind: int
) -> float:
    seed = int(keyed_hash(config.seed, kind).view(np.int64))
    good, bad = [], []
    for root, row in scores.items():
        drawn = draw_negatives(
            seed, np.array([root]), positives[root][None, :], weights, config.evaluation.negatives,
            lambda _, item, root=root: np.isin(item, [*had[root]]),
        )  # fmt: skip
        assert not set(drawn[0]) & (set(positives[root]) | had[root])
        bad += row[drawn[0]].tolist()
        good += row[[item for item in positives[root] if item not in had[root]]].tolist()
    return float(np.mean([beats(g, b) for g in good for b in bad]))


def beats(one: float, other: float) -> float:
    return (one > other + 1e-7) + 0.5 * (abs(one - other) <= 1e-7)


def naive_in_query(scores: dict, positives: dict, had: dict, config: RetrievalConfig, asked: dict) -> tuple[float, int]:
    """By loops: items are linked to query 0 or 1, the even and the odd ones, but for the last one, which is new."""
    seed, values = int(keyed_hash(config.seed, 2).view(np.int64)), []
    for root, row in scores.items():
        linked = [item for item in range(ITEMS - 1) if item % 2 == asked[root]["query"]]
        none = had[root] | set(positives[root].tolist())
        draws = []
        for place in range(config.evaluation.negatives if set(linked) - none else 0):
            tries = (int(uniform(seed, np.array([root]), place, k)[0] * len(linked)) for k in range(64))
            draws.append(next(linked[at] for at in tries if linked[at] not in none))
        own = [item for item in positives[root].tolist() if item not in had[root]]
        values += [np.mean([beats(row[item], row[other]) for other in draws]) for item in own if draws]
    return float(np.mean(values)), len(values)


def test_outcomes_hold_the_list_shown_and_the_positives_with_their_days(filled: Lake) -> None:
    night = night_of(filled, small_config())
    shard = next(shard for shard in night.shards if shard.split == "test")
    write_index(night, print)
    work = evaluate(2, 0, 1.0, depth=3)
    outcomes = pa.concat_tables(work(Worker(night), shard))
    tower = night.towers[0]
    scores = full_scores(night, tower, shard.as_of)
    requests = filled.to_arrow("requests", filled.version("requests"), filters={"split": "test"})
    found = with_days(outcomes, requests).filter(pc.field("model") == tower.name).to_pylist()
    assert found
    for row in found:
        assert row["top"] == np.argsort(-scores[row["request"]], kind="stable")[:3].tolist()
        asked = [r for r in requests.to_pylist() if r["request_id"] == row["request"]]
        assert row["items"] == [r["item"] for r in asked]
        assert row["days"] == [r["time"].date() for r in asked]
        assert row["query"] == asked[0]["query"]


def test_a_model_of_sequences_sees_each_request_s_own_history(lake: Lake, make_run: Callable[..., Run]) -> None:
    models = {"sasrec": {"kind": "sasrec", "options": {"dim": 8, "history_length": 3}}}
    config = small_config(models=models)
    write_small_night(lake, make_run, config)
    events = write_few_seen(lake, make_run)
    night = night_of(lake, config)
    tower = next(tower for tower in night.towers if tower.name == "sasrec")
    worker = Worker(night)
    model = build("sasrec", dict(tower.options), worker.store().schema(DIM), *night.layouts).eval()
    Path(tower.folder).mkdir(parents=True)
    save_file(model.state_dict(), Path(tower.folder) / "weights.safetensors")
    for shard in night.shards:
        rows = worker.requests(shard, positives=False)
        batch = rows.batch(np.arange(len(rows)))
        assert batch.history_BL.shape == (len(rows), 0)
        wanted = torch.full((len(rows), 3), -1)
        for row, (user, time) in enumerate(zip(batch.user_B.tolist(), batch.time_B.tolist(), strict=True)):
            mine = sorted(
                (t, item) for who, item, t in events if who == user and t < UNIX + timedelta(microseconds=time)
            )
            wanted[row, 3 - len(mine[-3:]) :] = torch.tensor([item for _, item in mine[-3:]])
        features = worker.store(tower).features(shard.as_of)
        with torch.inference_mode():
            expected = model.embed_requests(replace(batch, history_BL=wanted), features)
        torch.testing.assert_close(worker.embed(tower, shard.as_of, rows), expected)
    assert expected.std(0).any(), "users of the last shard have other histories"


def test_fewer_requests_are_judged_when_asked(filled: Lake) -> None:
    evaluate_models.run(filled, small_config(evaluation={"max_requests": 3}), DS)
    rows = filled.to_arrow("metrics", filled.version("metrics")).to_pylist()
    judged = {row["n"] for row in rows if row["metric"] == "ndcg@5" and row["slice"] == "all"}
    assert all(0 < n < USERS for n in judged)


def test_a_night_without_requests_gives_no_rows(filled: Lake, make_run: Callable[..., Run]) -> None:
    rois = filled.to_arrow("rois", filled.version("rois"), filters={"side": "item"})
    filled.write("rois", rois, where={"ds": DS}, run=make_run())
    assert score_requests.run(filled, small_config(), DS).rows_out == 0
    turned = dict(reversed(small_config().models.items()))  # nothing to choose by: the first of the config
    config = small_config(default_model="best").model_copy(update={"models": turned})
    assert evaluate_models.run(filled, config, DS).rows_out == 1
    champion = filled.to_arrow("champions", filled.version("champions")).to_pylist()[0]
    assert (champion["model"], champion["reason"], champion["value"]) == ("popularity", "first", None)


def test_head_items() -> None:
    assert head_items(np.array([5, 0, 9, 9, 1, 1])).tolist() == [False, False, True, False, False, False]
    assert not head_items(np.zeros(3, np.int64)).any()
