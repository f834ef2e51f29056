"""Row-sparse Adam and averaging against torch's dense Adam and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from roilake.training import LocalContext
from roilake.training.learner import Learner
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


def take(model: Tables, learner: Learner, a_N: Tensor, b_N: Tensor) -> float:
    learner.zero_grad()
    loss = model(a_N, b_N).sum()
    loss.backward()
    return learner.step(LocalContext(), loss, torch.tensor(float(len(a_N))))


def test_where_all_rows_are_touched_it_is_adam() -> None:
    dense, sparse = pair()
    learner = Learner(sparse, 0.05, 0.9)
    adam = torch.optim.Adam(dense.parameters(), lr=0.05)
    average = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    for step in range(STEPS):
        # Twice some rows, so that gradients of a row add up
        a_N = torch.cat([torch.randperm(ROWS), torch.randint(0, ROWS, (5,))])
        b_N = torch.cat([torch.randperm(ROWS), torch.randint(0, ROWS, (5,))])
        loss = dense(a_N, b_N).sum() / len(a_N)
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert take(sparse, learner, a_N, b_N) == pytest.approx(loss.item(), rel=1e-4)
        for name, tensor in dense.state_dict().items():
            average[name].lerp_(tensor, 1 - min(0.9, step / (step + 5)))
    for name, tensor in sparse.state_dict().items():
        torch.testing.assert_close(tensor, dense.state_dict()[name], rtol=1e-4, atol=1e-5)
    with learner.averaged():
        for name, tensor in sparse.state_dict().items():
            torch.testing.assert_close(tensor, average[name], rtol=1e-4, atol=1e-5)
    for name, tensor in sparse.state_dict().items():
        torch.testing.assert_close(tensor, dense.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.97, 1.0])
def test_the_average_of_a_row_catches_up_exactly(decay: float) -> None:
    """Rows that are touched seldom, or never, against the average taken at every step."""
    draw = np.random.default_rng(1)
    table = nn.Parameter(torch.randn(ROWS, WIDTH))
    rows = RowTables([table], 0.1, decay)
    average, steps = rows.data.double().clone(), 400
    for step in range(steps):
        ids = torch.from_numpy(np.unique(draw.integers(0, ROWS - 1, 1 + step % 2)))  # the last row never
        rows.update(ids, torch.from_numpy(draw.standard_normal((len(ids), WIDTH)).astype(np.float32)), step)
        average.lerp_(rows.data.double(), 1 - min(decay, step / (step + 5)))
        if step == 200:
            with rows.averaged(step + 1):  # looking in between changes nothing
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
    learner = Learner(model, 0.05, 0.9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(3):
        take(model, learner, torch.tensor([1, 2, 2]), torch.tensor([4, 4, 5]))
    moved = {name: (tensor != before[name]).any(dim=-1) for name, tensor in model.state_dict().items()}
    assert moved["a.weight"].nonzero().flatten().tolist() == [1, 2]
    assert moved["b.weight"].nonzero().flatten().tolist() == [4, 5]
    assert moved["c.weight"].nonzero().flatten().tolist() == [1, 2]


def test_it_goes_on_from_its_state_with_the_same_bits() -> None:
    steps = [(torch.randint(0, ROWS, (3,)), torch.randint(0, ROWS, (3,))) for _ in range(12)]
    _, whole = pair()
    learner = Learner(whole, 0.05, 0.9)
    for number, step in enumerate(steps):
        if number == 7:
            saved = {name: tensor.clone() for name, tensor in learner.state().items()}
            now = {name: tensor.clone() for name, tensor in learner.weights().items()}
        take(whole, learner, *step)
    _, other = pair()
    resumed = Learner(other, 0.05, 0.9)
    for name, tensor in resumed.weights().items():
        tensor.copy_(now[name])
    resumed.restore(saved, 7)
    for step in steps[7:]:
        take(other, resumed, *step)
    with learner.averaged(), resumed.averaged():
        assert all(
            torch.equal(other.state_dict()[name], tensor) for name, tensor in whole.state_dict().items()
        )
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in whole.state_dict().items())


class Other(LocalContext):
    """One of two ranks, the other's part given."""

    workers = 2

    def __init__(self, ids: Tensor, rows: Tensor) -> None:
        super().__init__()
        self._others = [ids, rows]

    def allgather(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, self._others.pop(0)])


def test_gradients_of_all_ranks_add_up_by_row() -> None:
    _, model = pair()
    tables = RowTables([model.a.weight, model.b.weight], 0.1, 0.0)
    (model.a(torch.tensor([3, 3])).sum() + 2 * model.b(torch.tensor([0])).sum()).backward()
    ids, rows = tables.gradient(Other(torch.tensor([3, 5]), torch.ones(2, WIDTH)))
    assert ids.tolist() == [3, 5, ROWS] and rows[:, 0].tolist() == [3.0, 1.0, 2.0]
