"""Conversion models: every published identity, on examples small enough to do by hand or by enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from roilake.errors import ConfigError
from roilake.pipelines.conversion import models as conversion
from roilake.pipelines.conversion.models import Field, ImpressionBatch, ImpressionSchema
from roilake.pipelines.conversion.models.losses import disagreement, product_cross_entropy
from roilake.pipelines.conversion.models.towers import Dropout, Embeddings
from roilake.pipelines.conversion.models.ukd_teacher import reverse
from roilake.pipelines.retrieval import models
from roilake.training import Term
from roilake.training.context import threads

FIELDS = (Field("user", "user", 7), Field("item", "item", 5), Field("age", "user", 3), Field("day", "context", 4))
SCHEMA = ImpressionSchema(FIELDS, 0.25, {})
KINDS = ("base", "dcmt", "ddpo", "escm2_dr", "escm2_ipw", "esmm", "naive", "ukd", "ukd_teacher")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def batch(rows: int = 24, seed: int = 0) -> ImpressionBatch:
    """A third is clicked; pseudo-labels on the others."""
    draw = torch.Generator().manual_seed(seed)
    columns = [torch.randint(-1, field.rows, (rows,), generator=draw) for field in FIELDS]
    click_B = (torch.arange(rows) % 3 == 0).float()
    return ImpressionBatch(
        row_BF=torch.stack(columns, dim=1),
        click_B=click_B,
        conversion_B=click_B * (torch.rand(rows, generator=draw) < 0.5),
        weight_B=0.5 + torch.rand(rows, generator=draw),
        propensity_B=torch.full((rows,), torch.nan),
        pseudo_B=torch.rand(rows, generator=draw).where(click_B == 0, torch.nan),
    )


def model(kind: str, schema: ImpressionSchema = SCHEMA, **options: Any) -> conversion.ConversionModel:
    torch.manual_seed(3)
    return conversion.build(kind, {"dropout": 0.0, **options}, schema)


def loss(terms: dict[str, Term]) -> Tensor:
    return torch.stack([t.coefficient * t.total / t.weight for t in terms.values() if t.coefficient]).sum()


def logits(built: conversion.ConversionModel, data: ImpressionBatch) -> dict[str, Tensor]:
    shared = built.embeddings(data.row_BF)
    return {task: tower(shared) for task, tower in built.towers.items()}


def cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    p = torch.sigmoid(logit)
    return -(label * p.log() + (1 - label) * (1 - p).log())


def mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_losses_see_float32_logits_in_mixed_precision(kind: str) -> None:
    """What two heads differ by is lost in bfloat16."""
    built, data = model(kind), batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = [*logits(built, data).values()]
        found += built.heads(built.embeddings(data.row_BF)) if kind == "ukd" else ()
    assert {logit_B.dtype for logit_B in found} == {torch.float32}


def test_kinds_and_their_options() -> None:
    assert conversion.kinds() == KINDS
    assert "conversion" not in models.kinds() and "options" not in models.kinds()
    with pytest.raises(ConfigError, match="unknown kind 'ukk': one of base"):
        conversion.build("ukk", {}, SCHEMA)
    with pytest.raises(ConfigError, match=r"esmm: option 'ctcvr'.*greater than 0"):
        conversion.check("esmm", {"ctcvr": 0})
    taught = {kind for kind in KINDS if conversion.needs_teacher(kind, {})}
    assert taught == {"ukd"} and not conversion.needs_teacher("ukd", {"alpha": 0})


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_learns_and_predicts_probabilities(kind: str) -> None:
    built, data = model(kind, **({"alpha": 0.1} if kind == "ukd" else {})), batch()
    optimizer = torch.optim.Adam(built.parameters(), 0.02)
    before = built.predict(data)
    for _ in range(60):
        optimizer.zero_grad()
        loss(built.terms(data)).backward()
        optimizer.step()
    after = built.predict(data)
    clicked = data.click_B > 0
    fit = [F.binary_cross_entropy(p.cvr_B[clicked], data.conversion_B[clicked]) for p in (before, after)]
    assert fit[1] < fit[0]
    for values in (after.cvr_B, after.ctr_B, after.uncertainty_B):
        assert values is None or (values.shape == (24,) and bool((values >= 0).all()))
    assert (after.ctr_B is None) == (kind == "naive") and (after.uncertainty_B is None) == (kind != "ukd")
    assert bool((after.cvr_B <= 1).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_of_two_halves_add_up(kind: str) -> None:
    built, data = model(kind).eval(), batch()
    halves = [conversion.towers.select(data, torch.arange(24) % 2 == half) for half in (0, 1)]
    whole, parts = built.terms(data), [built.terms(half) for half in halves]
    for name, term in whole.items():
        torch.testing.assert_close(term.total, parts[0][name].total + parts[1][name].total)
        torch.testing.assert_close(term.weight, parts[0][name].weight + parts[1][name].weight)
        assert not term.weight.requires_grad


def test_a_missing_value_is_a_zero_vector_that_does_not_learn() -> None:
    built, data = model("base"), batch()
    nothing = replace(data, row_BF=torch.full_like(data.row_BF, -1))
    shared = built.embeddings(nothing.row_BF)
    assert not shared.input_BX.any() and not shared.direct_BZ.any()
    loss(built.terms(nothing)).backward()
    gradient = built.embeddings.table.weight.grad
    assert gradient is not None and not gradient.any()


def test_sides_are_sums_of_fields_and_graph_vectors() -> None:
    vectors = {"user": torch.randn(7, 6), "item": torch.randn(5, 6)}
    embeddings = Embeddings(replace(SCHEMA, vectors=vectors), 4)
    table = embeddings.table.weight.detach()
    row_BF = torch.tensor([[2, 1, 0, 3], [-1, 1, -1, -1]])
    users, items, ages, days = 0, 7, 12, 15  # first rows in the one table
    user = table[users + 2, :4] + table[ages + 0, :4] + embeddings.maps["user"](vectors["user"][2])
    item = table[items + 1, :4] + embeddings.maps["item"](vectors["item"][1])
    shared = embeddings(row_BF)
    torch.testing.assert_close(shared.input_BX[0], torch.cat([user, item, user * item, table[days + 3, :4]]))
    torch.testing.assert_close(shared.direct_BZ[0, :4], user * item)
    assert not shared.input_BX[1, :4].any()  # neither an id, nor an age, nor a graph vector
    torch.testing.assert_close(shared.input_BX[1, 4:8], item)


def test_dropout_drops_at_its_rate_and_keeps_the_mean() -> None:
    values = torch.ones(1001, 37)
    dropped = Dropout(0.2)(values)
    assert (dropped == 0).float().mean() == pytest.approx(0.2, abs=0.01)
    assert dropped.mean() == pytest.approx(1.0, abs=0.01) and len(dropped.unique()) == 2
    assert torch.equal(Dropout(0.2).eval()(values), values) and torch.equal(Dropout(0.0)(values), values)


def test_naive_sees_clicks_only_and_base_adds_the_click_task() -> None:
    data = batch()
    expected = logits(model("naive"), data)
    clicks = data.weight_B * data.click_B
    naive = mean(cross_entropy(expected["cvr"], data.conversion_B), clicks)
    torch.testing.assert_close(loss(model("naive").terms(data)), naive)
    expected = logits(model("base"), data)
    base = mean(cross_entropy(expected["cvr"], data.conversion_B), clicks) + mean(
        cross_entropy(expected["ctr"], data.click_B), data.weight_B
    )
    torch.testing.assert_close(loss(model("base").terms(data)), base)


def test_esmm_is_the_product_of_click_and_conversion_on_all_impressions() -> None:
    built, data = model("esmm", ctcvr=0.3), batch()
    found, both = logits(built, data), data.click_B * data.conversion_B
    product = torch.sigmoid(found["ctr"]) * torch.sigmoid(found["cvr"])
    ctcvr = mean(-(both * product.log() + (1 - both) * (1 - product).log()), data.weight_B)
    terms = built.terms(data)
    torch.testing.assert_close(terms["ctcvr"].total / terms["ctcvr"].weight, ctcvr)
    assert terms["ctcvr"].coefficient == pytest.approx(0.3 / 0.25) and set(terms) == {"ctr", "ctcvr"}
    far, certain = torch.tensor([60.0, -60.0]), torch.tensor([60.0, 60.0])
    extreme = product_cross_entropy(far, certain, torch.tensor([0.0, 1.0]))  # 1 - p q = 2 e^-60, and p q = e^-60
    torch.testing.assert_close(extreme, torch.tensor([60.0 - math.log(2.0), 60.0]))


def every_click(pattern: tuple[int, ...], labels: Tensor, propensity: Tensor, rows: Tensor) -> ImpressionBatch:
    click = torch.tensor(pattern, dtype=torch.float32)
    none = torch.full_like(click, torch.nan)
    return ImpressionBatch(rows, click, labels * click, torch.ones_like(click), propensity, none)


def expectation(
    built: conversion.ConversionModel, labels: Tensor, propensity: Tensor, rows: Tensor, of: Callable
) -> Tensor:
    """Over all patterns of clicks, each with its probability."""
    total = torch.zeros(())
    for pattern in itertools.product((0, 1), repeat=len(labels)):
        click = torch.tensor(pattern, dtype=torch.float32)
        likely = torch.where(click > 0, propensity, 1 - propensity).prod()
        total = total + likely * of(built.terms(every_click(pattern, labels, propensity, rows)))
    return total.detach()


ROWS = torch.stack(
    [torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 3]), torch.zeros(4).long(), torch.zeros(4).long()], 1
)
LABELS, PROPENSITY = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.9, 0.2, 0.1, 0.5])


def test_ipw_is_unbiased_for_the_loss_of_the_entire_space() -> None:
    built = model("escm2_ipw", clip=1e-6)
    cvr = logits(built, every_click((1, 1, 1, 1), LABELS, PROPENSITY, ROWS))["cvr"]
    ideal = cross_entropy(cvr, LABELS).sum().detach()
    weighted = expectation(built, LABELS, PROPENSITY, ROWS, lambda terms: terms["cvr"].total)
    torch.testing.assert_close(weighted, ideal, rtol=1e-4, atol=1e-4)
    size = expectation(built, LABELS, PROPENSITY, ROWS, lambda terms: terms["cvr"].weight)
    torch.testing.assert_close(size, torch.tensor(4.0), rtol=1e-4, atol=1e-4)
    clicked = expectation(model("base"), LABELS, PROPENSITY, ROWS, lambda terms: terms["cvr"].total)
    assert abs(clicked - PROPENSITY.sum() / 4 * ideal) > 0.01  # clicks alone are biased here


def test_dr_is_unbiased_whatever_is_imputed() -> None:
    built = model("escm2_dr", clip=1e-6)
    found = logits(built, every_click((1, 1, 1, 1), LABELS, PROPENSITY, ROWS))
    ideal = cross_entropy(found["cvr"], LABELS).sum().detach()
    assert (F.softplus(found["imputation"]) - cross_entropy(found["cvr"], LABELS)).abs().min() > 1e-3

    def risk(terms: dict[str, Term]) -> Tensor:
        return terms["imputed"].total + terms["cvr"].total

    found_risk = expectation(built, LABELS, PROPENSITY, ROWS, risk)
    torch.testing.assert_close(found_risk, ideal, rtol=1e-4, atol=1e-4)


def test_propensities_are_clipped_counted_and_without_gradient() -> None:
    data = batch()
    logged = replace(data, propensity_B=torch.where(torch.arange(24) < 12, 0.001, torch.nan))
    built = model("escm2_ipw", clip=0.05, ctcvr=0.0)
    terms = built.terms(logged)
    assert terms["clipped"].total / terms["clipped"].weight == 0.5 and terms["clipped"].coefficient == 0
    found = logits(built, logged)
    known = torch.where(logged.propensity_B.isnan(), torch.sigmoid(found["ctr"]), logged.propensity_B)
    weight = (data.weight_B * data.click_B / known.clamp(0.05, 0.95)).detach()
    expected = mean(cross_entropy(found["cvr"], data.conversion_B), weight)
    torch.testing.assert_close(terms["cvr"].total / terms["cvr"].weight, expected)
    terms["cvr"].total.backward()
    assert all(p.grad is None or not p.grad.any() for p in built.towers["ctr"].parameters())


def test_dr_teaches_its_imputation_the_loss_and_not_the_loss_its_imputation() -> None:
    built, data = model("escm2_dr"), batch()
    built.terms(data)["imputation"].total.backward()
    assert all(not p.grad.any() for p in built.towers["cvr"].parameters() if p.grad is not None)
    assert any(p.grad.any() for p in built.towers["imputation"].parameters() if p.grad is not None)


def test_dcmt_weighs_both_halves_and_ties_them_to_one() -> None:
    built, data = model("dcmt", clip=0.01, agreement=0.5), batch()
    found, terms = logits(built, data), built.terms(data)
    propensity = torch.sigmoid(found["ctr"]).detach()
    values = {
        "cvr": mean(cross_entropy(found["cvr"], data.conversion_B), data.weight_B * data.click_B / propensity),
        "counterfactual": mean(
            cross_entropy(found["counterfactual"], torch.ones(24)),
            data.weight_B * (1 - data.click_B) / (1 - propensity),
        ),
        "agreement": mean(
            (torch.sigmoid(found["cvr"]) + torch.sigmoid(found["counterfactual"]) - 1).abs(), data.weight_B
        ),
    }
    for name, value in values.items():
        torch.testing.assert_close(terms[name].total / terms[name].weight, value)
    assert terms["agreement"].coefficient == 0.5


def test_ddpo_learns_soft_labels_in_both_halves() -> None:
    built, data = model("ddpo", clip=0.01), batch()
    found, terms = logits(built, data), built.terms(data)
    propensity = torch.sigmoid(found["ctr"]).detach()
    soft = torch.sigmoid(found["conversion_propensity"]).detach()
    label = torch.where(data.conversion_B > 0, 1.0, soft)
    each = cross_entropy(found["cvr"], label)
    clicks, others = data.weight_B * data.click_B, data.weight_B * (1 - data.click_B)
    values = {
        "cvr": mean(each, clicks / propensity),
        "cvr_unclicked": mean(each, others / (1 - propensity)),
        "conversion_propensity": mean(cross_entropy(found["conversion_propensity"], data.conversion_B), clicks),
    }
    for name, value in values.items():
        torch.testing.assert_close(terms[name].total / terms[name].weight, value)
    (terms["cvr"].total + terms["cvr_unclicked"].total).backward()
    assert all(p.grad is None or not p.grad.any() for p in built.towers["conversion_propensity"].parameters())


def test_gradients_come_back_reversed_and_scaled() -> None:
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    there = reverse(values, 0.3)
    assert torch.equal(there, values)
    (there * torch.tensor([2.0, 5.0])).sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.6, -1.5]))
    assert not reverse(values, 0.0).requires_grad


def test_the_teachers_tower_hides_what_its_discriminator_looks_for() -> None:
    """The discriminator's own gradient does not depend on mu; the tower's is its reverse, after the ramp."""
    data, gradients = batch(), {}
    for mu in (0.0, 0.1):
        built = model("ukd_teacher", mu=mu, ramp=10)
        built.step.fill_(5)  # half way up
        terms = built.terms(data)
        (terms["domain_clicked"].total + terms["domain_unclicked"].total).backward()
        gradients[mu] = {name: p.grad for name, p in built.named_parameters() if p.grad is not None}
    assert all(torch.equal(gradients[0.1][n], g) for n, g in gradients[0.0].items() if n.startswith("discriminator"))
    assert not any(g.any() for n, g in gradients[0.0].items() if n.startswith("towers"))
    built = model("ukd_teacher")
    tower, shared = built.towers["cvr"], built.embeddings(data.row_BF)
    domain = F.binary_cross_entropy_with_logits(
        built.discriminator(tower.hidden(shared)).squeeze(1), data.click_B, reduction="none"
    )
    (domain * data.weight_B).sum().backward()
    plain = dict(built.named_parameters())
    name = "towers.cvr.layers.0.weight"
    torch.testing.assert_close(gradients[0.1][name], -0.05 * plain[name].grad)
    assert not any(n.startswith("towers.ctr") for n in gradients[0.1])


def test_a_teacher_without_adversary_is_base() -> None:
    teacher, base, data = model("ukd_teacher", mu=0.0), model("base"), batch()
    base.load_state_dict({k: v for k, v in teacher.state_dict().items() if k in base.state_dict()})
    for name, term in base.terms(data).items():
        found = teacher.terms(data)[name]
        torch.testing.assert_close(found.total / found.weight, term.total / term.weight)


def test_disagreement_is_zero_for_equal_heads_and_kl_else() -> None:
    a, b = torch.tensor([0.3, -4.0, 30.0]), torch.tensor([-1.2, 2.0, 25.0])
    assert not disagreement(a, a).any()
    p, q = torch.sigmoid(a.double()), torch.sigmoid(b.double())
    expected = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(disagreement(a, b).double(), expected, rtol=1e-4, atol=1e-6)
    student = model("ukd", head_dropout=0.0).eval()
    student.towers["cvr"].heads[1].load_state_dict(student.towers["cvr"].heads[0].state_dict())
    assert not student.predict(batch()).uncertainty_B.any()


def test_the_served_uncertainty_is_that_of_many_masks() -> None:
    torch.manual_seed(0)
    student, data = model("ukd", dropout=0.0), batch()
    shared = student.embeddings(data.row_BF)
    masked = torch.stack([disagreement(*student.train().heads(shared)) for _ in range(4000)])
    served = student.eval().predict(data).uncertainty_B
    assert served.min() > 0
    torch.testing.assert_close(served, masked.mean(dim=0), rtol=0.1, atol=1e-6)


def test_the_students_loss_is_the_papers() -> None:
    built, data = model("ukd", discount=50.0, alpha=0.7, head_dropout=0.0), batch()
    first, second = built.heads(built.embeddings(data.row_BF))
    unsure = disagreement(first, second)
    clicks, others = data.weight_B * data.click_B, data.weight_B * (1 - data.click_B)
    label = data.pseudo_B.nan_to_num(0.0)

    def both(target: Tensor) -> Tensor:
        return (cross_entropy(first, target) + cross_entropy(second, target)) / 2

    expected = (
        mean(both(data.conversion_B), clicks)
        + 0.7 * mean(torch.exp(-50.0 * unsure) * both(label) + unsure, others)
        + mean(cross_entropy(logits(built, data)["ctr"], data.click_B), data.weight_B)
    )
    torch.testing.assert_close(loss(built.terms(data)), expected)
    served = built.predict(data)
    torch.testing.assert_close(served.cvr_B, (torch.sigmoid(first) + torch.sigmoid(second)) / 2)


def test_a_detached_weight_gives_no_gradient() -> None:
    data, gradients = batch(), []
    for detach in (True, False):
        built = model("ukd", detach_weight=detach, discount=50.0, head_dropout=0.0)
        built.terms(data)["pseudo"].total.backward()
        gradients.append(built.towers["cvr"].heads[0].weight.grad)
    built = model("ukd", head_dropout=0.0)
    first, second = built.heads(built.embeddings(data.row_BF))
    weight = torch.exp(-50.0 * disagreement(first, second)).detach()
    others = data.weight_B * (1 - data.click_B)
    label = data.pseudo_B.nan_to_num(0.0)
    each = (cross_entropy(first, label) + cross_entropy(second, label)) / 2
    (weight * each * others).sum().backward()
    torch.testing.assert_close(gradients[0], built.towers["cvr"].heads[0].weight.grad)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("options", "names", "heads"),
    [
        ({}, {"ctr", "cvr", "pseudo", "unsure", "trust"}, 2),
        ({"uncertainty": False}, {"ctr", "cvr", "pseudo"}, 1),
        ({"alpha": 0.0, "uncertainty": False}, {"ctr", "cvr"}, 1),
        ({"ctcvr": 0.3}, {"ctr", "cvr", "pseudo", "unsure", "trust", "ctcvr"}, 2),
    ],
)
def test_the_students_parts_switch_off(options: dict[str, Any], names: set[str], heads: int) -> None:
    built = model("ukd", **options)
    assert set(built.terms(batch())) == names and len(built.towers["cvr"].heads) == heads
    trust = model("ukd", discount=0.0).terms(batch())["trust"]
    torch.testing.assert_close(trust.total, trust.weight)


def test_a_student_without_its_parts_is_base() -> None:
    student, base, data = model("ukd", alpha=0.0, uncertainty=False), model("base"), batch()
    base.load_state_dict(student.state_dict())
    torch.testing.assert_close(loss(student.terms(data)), loss(base.terms(data)))
