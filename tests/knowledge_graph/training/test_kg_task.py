"""Models of knowledge graphs trained: two ranks as one, cut off and resumed, and what validation may see."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pyspark.sql import SparkSession
from torch import Tensor

from roilake.config.base import ModelConfig
from roilake.pipelines.knowledge_graph.models import TripleBatch
from roilake.pipelines.knowledge_graph.training import KgTask
from roilake.training import Checkpoints, Context, LocalContext, Progress, Settings, launch, train
from tests.knowledge_graph.small_kg import SCRATCH, small_kg
from tests.training.toy import on_ranks

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("simkgc", {**SCRATCH, "pre_batch": 20}),
    ("simkgc", {**SCRATCH, "self_negatives": False, "shared": True, "neighbours": 3}),
    ("compl_ex", {"width": 8, "dropout": 0.0, "regularization": 0.01}),
    ("trans_e", {"width": 8, "dropout": 0.0, "candidates": 9}),
]


@dataclass(frozen=True)
class Training:
    epochs: int = 3
    batch_size: int = 16
    validate_every: int = 1
    validation_triples: int = 4
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    warmup_steps: int = 2
    decay: Literal["linear"] = "linear"


def make_task(kind: str, options: dict[str, Any], **training: Any) -> KgTask:
    """Every seventh triple is kept from training."""
    graph = small_kg()
    chosen = torch.arange(len(graph.train_E3)) % 7 == 3
    seen = replace(graph, train_E3=graph.train_E3[~chosen])
    return KgTask(seen, graph.train_E3[chosen], ModelConfig(kind=kind, options=options), Training(**training), seed=1)


def run(
    task: KgTask, context: Context | None = None, folder: Path = Path("never"), every: int = 1000
) -> tuple[dict[str, Tensor], Progress]:
    settings = Settings("kg", 0, every, one_thread=True)
    model, progress = train(task, context or LocalContext(), Checkpoints(folder, ""), settings)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, progress


def losses(progress: Progress) -> list[float]:
    return [point["loss"] for point in progress.curve]


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_two_ranks_are_one(kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Negatives and masks are of the whole batch. Ranks that are threads share torch's generator: one draws."""
    initial = make_task(kind, options).model()
    monkeypatch.setattr(KgTask, "model", lambda _: copy.deepcopy(initial))
    expected, one = run(make_task(kind, options))
    assert min(losses(one)) < losses(one)[0]
    for found, two in on_ranks(lambda context: run(make_task(kind, options), context)):
        assert losses(two) == pytest.approx(losses(one), abs=1e-4)
        assert [point["mrr"] for point in two.validations] == pytest.approx(
            [p["mrr"] for p in one.validations], abs=1e-3
        )
        for name, tensor in expected.items():
            if "attention_in.bias" not in name:  # keys' have no gradient but rounding noise, which Adam follows
                torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=1e-3)


def test_two_horovod_workers_are_one(spark: SparkSession) -> None:
    task = make_task(*FORMS[0])
    one = losses(run(task)[1])
    two = launch(lambda context: losses(run(task, context)[1]), 2, spark)
    assert two == pytest.approx(one, abs=1e-5)


def test_a_run_that_was_cut_off_goes_on_with_its_ring(tmp_path: Path) -> None:
    """Cut in the second epoch. To the same bits, which the ring's negatives are part of."""
    task = make_task(*FORMS[0])
    expected, whole = run(task)

    class CutError(Exception):
        pass

    class Stops(KgTask):
        def losses(self, model: Any, batch: TripleBatch) -> Any:
            if batch.step == 6:
                raise CutError
            return super().losses(model, batch)

    with pytest.raises(CutError):
        run(Stops(**vars(task)), folder=tmp_path, every=5)
    found, resumed = run(task, folder=tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert losses(resumed) == losses(whole)


def test_an_epoch_has_each_triple_once_both_ways() -> None:
    task = make_task(*FORMS[0], epochs=2, batch_size=10)
    feed = task.feed(LocalContext())
    batches = list(feed.batches(0))
    per_epoch = len(task.graph.train_E3) // 5
    assert (feed.steps, feed.rows, len(batches)) == (2 * per_epoch, 10, 2 * per_epoch)
    relations = task.graph.relations
    seen = [
        tuple(row) for b in batches[:per_epoch] for row in torch.stack([b.head_Q, b.relation_Q, b.tail_Q], 1).tolist()
    ]
    ways = {(h, r, t) for h, r, t in seen if r < relations}
    assert len(set(seen)) == len(seen) == 10 * per_epoch
    assert {(t, r + relations, h) for h, r, t in ways} == {row for row in seen if row[1] >= relations}
    assert ways <= {tuple(row) for row in task.graph.train_E3.tolist()}
    assert not torch.equal(batches[0].head_Q, batches[per_epoch].head_Q)
    again = next(iter(feed.batches(per_epoch + 1)))
    assert torch.equal(again.head_Q, batches[per_epoch + 1].head_Q) and again.step == per_epoch + 1


def test_validation_filters_by_what_is_known_and_takes_the_sample_it_is_told() -> None:
    task = make_task(*FORMS[2])
    assert len(task._sample()) == 4 and torch.equal(task._sample(), task._sample())
    assert set(task.validate(task.model(), LocalContext())) == {"mrr", "hits@1", "hits@3", "hits@10"}
    assert replace(task, validation_V3=task.validation_V3[:0]).validate(task.model(), LocalContext()) == {}


def test_the_margin_is_for_training_alone() -> None:
    plain, wide = (make_task("simkgc", {**SCRATCH, "margin": margin}) for margin in (0.0, 0.5))
    first, second = (task.validate(task.model(), LocalContext()) for task in (plain, wide))
    assert first == second
    batch = next(iter(plain.feed(LocalContext()).batches(0)))
    terms = [float(task.losses(task.model(), batch)["tails"].total) for task in (plain, wide)]
    assert terms[1] > terms[0]


def test_texts_tell_what_no_triple_does() -> None:
    """A random order has an MRR of about 0.14 here."""
    _, progress = run(make_task("simkgc", SCRATCH, epochs=40, validate_every=40, validation_triples=99))
    assert progress.best_score > 0.35


@pytest.mark.parametrize("kind", ["compl_ex", "rotat_e", "trans_e"])
def test_models_without_texts_remember_their_triples(kind: str) -> None:
    options = {"width": 32, "dropout": 0.0}
    task = make_task(kind, options, epochs=60, validate_every=60, learning_rate=0.05, validation_triples=99)
    _, progress = run(replace(task, validation_V3=task.graph.train_E3))
    assert progress.best_score > 0.9
