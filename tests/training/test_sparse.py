"""Row-sparse Adam and averaging against torch's dense Adam and a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from roilake.training import LocalContext, OptimizerPlan
from roilake.training.optimizers import Optimizers
from roilake.training.sparse import Decay, RowTables

ROWS, WIDTH, STEPS = 12, 4, 30


class Tables(nn.Module):
    """Two tables of one width and one of another, and a dense matrix."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.a, self.b = (nn.Embedding(ROWS, WIDTH, sparse=sparse) for _ in range(2))
        self.c = nn.Embedding(5, 2, sparse=sparse)
        self.dense = nn.Linear(WIDTH, 2)

    def forward(self, a_N: Tensor, b_N: Tensor) -> Tensor:
        return (self.dense(self.a(a_N) * self.b(b_N)) * self.c(a_N % 5)).pow(2).sum(1)


def pair() -> tuple[Tables, Tables]:
    torch.manual_seed(0)
    dense, sparse = Tables(False), Tables(True)
    sparse.load_state_dict(dense.state_dict())
    return dense, sparse


def adam(model: nn.Module, averaging: float = 0.9, weight_decay: float = 0.0) -> Optimizers:
    plan = OptimizerPlan(list(model.parameters()), 0.05, weight_decay=weight_decay)
    return Optimizers(model, [plan], averaging)


def take(model: Tables, optimizers: Optimizers, step: int, a_N: Tensor, b_N: Tensor) -> float:
    optimizers.zero_grad()
    loss = model(a_N, b_N).sum()
    loss.backward()
    optimizers.reduce(LocalContext(), torch.tensor(float(len(a_N))), None)
    optimizers.step(step, STEPS)
    return loss.item() / len(a_N)


def test_where_all_rows_are_touched_it_is_adam() -> None:
    dense, sparse = pair()
    optimizers = adam(sparse)
    theirs = torch.optim.Adam(dense.parameters(), lr=0.05)
    average = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    for step in range(STEPS):
        # Twice some rows, so that gradients of a row add up
        a_N = torch.cat([torch.randperm(ROWS), torch.randint(0, ROWS, (5,))])
        b_N = torch.cat([torch.randperm(ROWS), torch.randint(0, ROWS, (5,))])
        loss = dense(a_N, b_N).sum() / len(a_N)
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        assert take(sparse, optimizers, step, a_N, b_N) == pytest.approx(loss.item(), rel=1e-4)
        for name, tensor in dense.state_dict().items():
            average[name].lerp_(tensor, 1 - min(0.9, step / (step + 5)))
    for name, tensor in sparse.state_dict().items():
        torch.testing.assert_close(tensor, dense.state_dict()[name], rtol=1e-4, atol=1e-5)
    with optimizers.averaged(STEPS):
        for name, tensor in sparse.state_dict().items():
            torch.testing.assert_close(tensor, average[name], rtol=1e-4, atol=1e-5)
    for name, tensor in sparse.state_dict().items():
        torch.testing.assert_close(tensor, dense.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.97, 1.0])
def test_the_average_of_a_row_catches_up_exactly(decay: float) -> None:
    """Rows that are touched seldom, or never, against the average taken at every step."""
    draw = np.random.default_rng(1)
    table = nn.Parameter(torch.randn(ROWS, WIDTH))
    rows = RowTables([table], decay)
    average, steps = rows.data.double().clone(), 400
    for step in range(steps):
        ids = torch.from_numpy(np.unique(draw.integers(0, ROWS - 1, 1 + step % 2)))  # the last row never
        rows.ids, rows.gradient = ids, torch.from_numpy(draw.standard_normal((len(ids), WIDTH))).float()
        rows.step(step, 0.1)
        average.lerp_(rows.data.double(), 1 - min(decay, step / (step + 5)))
        if step == 200:
            with rows.averaged(step + 1):  # a validation in between changes nothing
                torch.testing.assert_close(table.data, average.float(), rtol=1e-4, atol=1e-5)
    with rows.averaged(steps):
        torch.testing.assert_close(table.data, average.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.97])
def test_what_is_kept_over_some_steps_is_the_product(decay: float) -> None:
    weights = Decay(decay)
    for first, last in ((0, 0), (0, 3), (2, 2), (1, 7), (3, 300), (160, 170), (200, 230)):
        expected = np.prod([weights.kept(step) for step in range(first, last)])
        found = weights.kept_since(torch.tensor([first]), last).item()
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_rows_that_are_not_touched_do_not_move() -> None:
    _, model = pair()
    optimizers = adam(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(3):
        take(model, optimizers, step, torch.tensor([1, 2, 2]), torch.tensor([4, 4, 5]))
    moved = {name: (tensor != before[name]).any(dim=-1) for name, tensor in model.state_dict().items()}
    assert moved["a.weight"].nonzero().flatten().tolist() == [1, 2]
    assert moved["b.weight"].nonzero().flatten().tolist() == [4, 5]
    assert moved["c.weight"].nonzero().flatten().tolist() == [1, 2]


def test_it_goes_on_from_its_state_with_the_same_bits() -> None:
    steps = [(torch.randint(0, ROWS, (3,)), torch.randint(0, ROWS, (3,))) for _ in range(12)]
    _, whole = pair()
    optimizers = adam(whole)
    for number, step in enumerate(steps):
        if number == 7:
            saved = {name: tensor.clone() for name, tensor in optimizers.state().items()}
            now = {name: tensor.clone() for name, tensor in optimizers.weights().items()}
        take(whole, optimizers, number, *step)
    _, other = pair()
    resumed = adam(other)
    for name, tensor in resumed.weights().items():
        tensor.copy_(now[name])
    resumed.restore(saved)
    for number, step in enumerate(steps[7:], start=7):
        take(other, resumed, number, *step)
    with optimizers.averaged(12), resumed.averaged(12):
        assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in whole.state_dict().items())
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in whole.state_dict().items())


class Other(LocalContext):
    """One of two ranks, the other's part given."""

    workers = 2

    def __init__(self, ids: Tensor, rows: Tensor) -> None:
        super().__init__()
        self._others = [ids, rows]

    def allgather(self, *rows: Tensor) -> list[Tensor]:
        return [torch.cat(pair) for pair in zip(rows, self._others, strict=True)]


def test_gradients_of_all_ranks_add_up_by_row() -> None:
    _, model = pair()
    tables = RowTables([model.a.weight, model.b.weight], 0.0)
    (model.a(torch.tensor([3, 3])).sum() + 2 * model.b(torch.tensor([0])).sum()).backward()
    tables.reduce(Other(torch.tensor([3, 5]), torch.ones(2, WIDTH)))
    assert tables.ids.tolist() == [3, 5, ROWS] and tables.gradient[:, 0].tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("sparse", [False, True])
def test_weight_decay_is_that_of_adam(sparse: bool) -> None:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleList([nn.Embedding(3, 2, sparse=sparse), nn.Linear(2, 1)])

    def loss_of(model: Any) -> Tensor:
        return (model[1](model[0](torch.arange(3))) ** 2).sum()  # touches every row

    ours, theirs = made(), made()
    optimizers = adam(ours, 0.0, weight_decay=0.3)
    if sparse:
        theirs[0].sparse = False  # type: ignore[index]
    reference = torch.optim.Adam(theirs.parameters(), 0.05, weight_decay=0.3)
    for step in range(4):
        optimizers.zero_grad()
        loss_of(ours).backward()
        optimizers.reduce(LocalContext(), None, None)
        optimizers.step(step, 4)
        reference.zero_grad()
        loss_of(theirs).backward()
        reference.step()
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_clipping_bounds_the_norm_of_dense_and_touched_rows_together(bound: float) -> None:
    dense, sparse = pair()
    ids = torch.tensor([1, 2, 2]), torch.tensor([4, 4, 5])
    for model in (dense, sparse):
        optimizers = adam(model)
        optimizers.zero_grad()
        model(*ids).sum().backward()
        if model is sparse:
            optimizers.reduce(LocalContext(), torch.tensor(2.0), bound)
    gradients = torch.cat([p.grad.flatten() for p in dense.parameters() if p.grad is not None]) / 2
    found = torch.cat([group.gradient.flatten() for _, group in optimizers._groups])
    expected = gradients * min(1.0, bound / float(gradients.norm()))
    torch.testing.assert_close(
        found[found != 0].sort().values, expected[expected != 0].sort().values, rtol=1e-5, atol=1e-7
    )
    assert float(found.norm()) == pytest.approx(min(bound, float(gradients.norm())), rel=1e-5)
