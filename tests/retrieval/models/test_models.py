"""Every model on small random graphs: what must hold whatever the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.models import (
    FeatureSchema,
    ItemBatch,
    RequestBatch,
    TypeFeatures,
    build,
    encoder,
    is_matrix_kind,
    kinds,
)
from roilake.pipelines.retrieval.models.encoder import HashedEmbedding, _hash
from roilake.pipelines.retrieval.roi.layout import RoiLayout

SIZES = {"user": 7, "query": 5, "item": 11}
DIM, INTEREST = 8, 4
LENGTH = 6
REQUEST = RoiLayout.of(
    ({"user_query": 2, "user_item": 3, "user_item_recent": 2, "query_item": 2}, {"item_user": 2, "query_item": 2}),
    ("user", "query"),
)
ITEM = RoiLayout.of(({"item_user": 2, "item_query": 2},), ("item",))
SCHEMA = FeatureSchema(SIZES, 13, {"user": {"age": 3}, "query": {}, "item": {"brand": 4, "colour": 2}}, INTEREST)
GRAPH_KINDS = ("zoomer", "graphsage", "gat")
TOWERS = tuple(kind for kind in kinds() if not is_matrix_kind(kind))


def features() -> dict[str, TypeFeatures]:
    made = {}
    for name, size in SIZES.items():
        counts, events = SCHEMA.num_categories[name].values(), torch.randint(1, 40, (size,))
        made[name] = TypeFeatures(
            interest_ND=torch.nn.functional.normalize(torch.randn(size, INTEREST), dim=1),
            events_N=events,
            degree_N=torch.log2(1.0 + events).long(),
            terms_NT=torch.randint(0, 13, (size, 3)),
            fields_NF=torch.stack([torch.randint(0, n + 1, (size,)) for n in counts], dim=1)
            if counts
            else torch.empty((size, 0), dtype=torch.long),
        )
    return made


def neighbours(layout: RoiLayout, rows: int) -> torch.Tensor:
    """Random ids with about a third missing; below a missing parent everything is missing."""
    out = torch.full((rows, layout.size), -1)
    for slot in layout.slots:
        drawn = torch.randint(0, SIZES[slot.dst_type], (rows, slot.size))
        drawn[torch.rand(rows, slot.size) < 0.3] = -1
        if slot.parent is not None:
            above = layout.slots[slot.parent]
            parents = out[:, above.start : above.start + above.size].repeat_interleave(slot.fanout, dim=1)
            drawn[parents < 0] = -1
        out[:, slot.start : slot.start + slot.size] = drawn
    return out


def requests(rows: int = 6) -> RequestBatch:
    ids = neighbours(REQUEST, rows)
    own = torch.zeros(ids.shape)
    own[:, REQUEST.entry_H] = 1.0
    history = torch.rand(rows, SIZES["item"]).argsort(1)[:, :LENGTH]
    return RequestBatch(
        user_B=torch.randint(0, SIZES["user"], (rows,)),
        query_B=torch.randint(0, SIZES["query"], (rows,)),
        neighbours_BS=ids,
        relevance_BS=torch.rand(ids.shape),
        linked_BS=own * torch.randint(0, 2, ids.shape),
        recency_BS=own * torch.rand(ids.shape),
        time_B=torch.zeros(rows, dtype=torch.long),
        history_BL=history.where(torch.arange(LENGTH) >= torch.randint(0, LENGTH + 1, (rows, 1)), -1),
        positives_BP=torch.zeros((rows, 1), dtype=torch.long),
        weight_B=torch.ones(rows),
    )


def items() -> ItemBatch:
    ids = neighbours(ITEM, SIZES["item"])
    return ItemBatch(torch.arange(SIZES["item"]), ids, torch.rand(ids.shape))


def shaken(kind: str, **options: object) -> torch.nn.Module:
    """A model whose weights are all random, so that nothing is zero by its start."""
    given = {"dim": DIM, **options} if kind != "interest_dot" else dict(options)
    model = build(kind, given, SCHEMA, REQUEST, ITEM)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("kind", TOWERS)
def test_towers_meet_in_one_space(kind: str) -> None:
    model, given = shaken(kind), features()
    request_BD, item_ID = model.embed_requests(requests(), given), model.embed_items(items(), given)
    assert request_BD.shape == (6, item_ID.shape[1]) and item_ID.shape[0] == SIZES["item"]
    assert torch.isfinite(request_BD @ item_ID.T).all()


VARIANTS = [
    ("graphsage", {}),
    ("graphsage", {"neighbours": "frozen"}),
    ("graphsage", {"meta_weights": True}),
    ("gat", {"heads": 2}),
    ("gat", {"heads": 2, "neighbours": "frozen"}),
    ("zoomer", {}),
    ("zoomer", {"neighbours": "frozen"}),
    ("zoomer", {"neighbours": "detached"}),
    ("zoomer", {"towers": "paper"}),
    ("zoomer", {"feature_attention": False}),
    ("zoomer", {"edge_attention": False}),
    ("zoomer", {"semantic_attention": False}),
    ("zoomer", {"meta_weights": True}),
    ("zoomer", {"meta_weights": True, "edge_attention": False}),
]


@pytest.mark.parametrize(("kind", "options"), [*VARIANTS, ("no_graph", {}), ("zoomer", {"user_ids": "learned"})])
def test_a_step_embeds_as_each_tower_alone(kind: str, options: dict[str, object]) -> None:
    """With the same gradients, whether a node is encoded once or for each tower."""
    model, given, asked, candidates = shaken(kind, **options).train(), features(), requests(), items()
    alone = model.embed_requests(asked, given), model.embed_items(candidates, given)
    found: list[dict[str, torch.Tensor]] = []
    for request_BD, item_ID in (alone, model.embed(asked, candidates, given)):
        model.zero_grad()
        torch.testing.assert_close(request_BD @ item_ID.T, alone[0] @ alone[1].T, rtol=1e-4, atol=1e-5)
        (request_BD @ item_ID.T).sin().sum().backward(retain_graph=True)
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "options"), [*VARIANTS, ("sasrec", {"heads": 2}), ("gru4rec", {})])
def test_rows_do_not_look_at_each_other(kind: str, options: dict[str, object]) -> None:
    model, given, batch = shaken(kind, **options), features(), requests()
    whole = model.embed_requests(batch, given)
    names = RequestBatch.__dataclass_fields__
    single = RequestBatch(**{name: getattr(batch, name)[2:3] for name in names})
    torch.testing.assert_close(model.embed_requests(single, given), whole[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_order_of_neighbours_and_padding_do_not_matter(kind: str, options: dict[str, object]) -> None:
    model, given, batch = shaken(kind, **options), features(), items()
    flipped, relevance = batch.neighbours_IS.clone(), batch.relevance_IS.clone()
    for slot in ITEM.slots:
        span = slice(slot.start, slot.start + slot.size)
        flipped[:, span] = batch.neighbours_IS[:, span].flip(1)
        relevance[:, span] = batch.relevance_IS[:, span].flip(1)
    turned = replace(batch, neighbours_IS=flipped, relevance_IS=relevance)
    torch.testing.assert_close(model.embed_items(batch, given), model.embed_items(turned, given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_neighbours_matter_and_learn(kind: str, options: dict[str, object]) -> None:
    model, given, batch = shaken(kind, **options).train(), features(), requests()
    alone = replace(batch, neighbours_BS=torch.full_like(batch.neighbours_BS, -1))
    vectors = model.embed_requests(batch, given)
    assert not torch.allclose(vectors, model.embed_requests(alone, given), atol=1e-4)
    vectors.pow(3).sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name in reached if name.startswith("maps.")}


@pytest.mark.parametrize("neighbours", ["frozen", "detached"])
def test_such_neighbours_train_no_rows_but_the_roots(neighbours: str) -> None:
    model, given, batch = shaken("zoomer", neighbours=neighbours, user_ids="learned").train(), features(), requests()
    model.embed_requests(batch, given).pow(3).sum().backward()
    assert model.encoders["item"].id.weight.grad is None
    assert model.encoders["user"].id.weight.grad is not None


OFF = {"feature_attention": False, "edge_attention": False, "semantic_attention": False}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gat", {"heads": 2}),
        ("zoomer", OFF),
        ("zoomer", {}),
        ("zoomer", {"meta_weights": True}),
        ("graphsage", {"meta_weights": True}),
    ],
)
def test_before_attention_learns_it_is_graphsage(kind: str, options: dict[str, object]) -> None:
    given, batch = features(), requests()
    sage = build("graphsage", {"dim": DIM}, SCHEMA, REQUEST, ITEM)
    other = build(kind, {"dim": DIM, **options}, SCHEMA, REQUEST, ITEM)
    other.load_state_dict(sage.state_dict(), strict=False)
    torch.testing.assert_close(
        other.embed_requests(batch, given), sage.embed_requests(batch, given), rtol=1e-5, atol=1e-6
    )


def test_sage_by_hand() -> None:
    model, given, batch = shaken("graphsage", user_ids="learned"), features(), requests(1)
    sums = {name: encoder.sum(given[name]) for name, encoder in model.encoders.items()}

    def visit(kind: str, node: int, slots: list[int], own_position: int) -> torch.Tensor:
        vector = sums[kind][node]
        for index in slots:
            slot = REQUEST.slots[index]
            found = []
            for place in range(own_position * slot.fanout, (own_position + 1) * slot.fanout):
                child = int(batch.neighbours_BS[0, slot.start + place])
                if child >= 0:
                    found.append(visit(slot.dst_type, child, list(REQUEST.children(index)), place))
            if found:
                vector = vector + model.maps[f"hop{slot.hop}_{slot.edge_type}"](torch.stack(found).mean(0))
        return vector

    first = [[i for i, s in enumerate(REQUEST.slots) if s.parent is None and s.root == root] for root in (0, 1)]
    user = visit("user", int(batch.user_B[0]), first[0], 0)
    query = visit("query", int(batch.query_B[0]), first[1], 0)
    expected = model.towers.requests(user[None], query[None])
    torch.testing.assert_close(model.embed_requests(batch, given), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_a_request_without_query_ignores_the_query_tables(kind: str) -> None:
    model, given = shaken(kind), features()
    batch = requests()
    query_slots = [slot for slot in REQUEST.slots if slot.root == 1]
    ids = batch.neighbours_BS.clone()
    for slot in query_slots:
        ids[:, slot.start : slot.start + slot.size] = -1
    none = replace(batch, query_B=torch.full_like(batch.query_B, -1), neighbours_BS=ids)
    before = model.embed_requests(none, given)
    with torch.no_grad():
        model.encoders["query"].id.weight[0] += 5.0
    unchanged = model.embed_requests(none, given)
    first_hop = {
        int(i) for s in REQUEST.slots if s.dst_type == "query" for i in ids[:, s.start : s.start + s.size].flatten()
    }
    assert 0 in first_hop or torch.allclose(before, unchanged)


@pytest.mark.parametrize(("kind", "options"), [("no_graph", {}), ("graphsage", {}), ("zoomer", {})])
def test_without_user_ids_a_new_user_is_served_as_an_old_one(kind: str, options: dict[str, object]) -> None:
    """Two users who differ by nothing but their number, and ask for the same."""
    given, batch = features(), requests(2)
    alike = {name: torch.stack([getattr(batch, name)[0]] * 2) for name in RequestBatch.__dataclass_fields__}
    both = RequestBatch(**{**alike, "user_B": torch.tensor([0, 1])})
    there = {name: tensor for name, tensor in vars(given["user"]).items() if tensor is not None}
    twins = {name: tensor.index_copy(0, torch.tensor([1]), tensor[:1]) for name, tensor in there.items()}
    given["user"] = TypeFeatures(**twins)
    for user_ids, same in (("none", True), ("learned", False)):
        vectors_BD = shaken(kind, user_ids=user_ids, **options).embed_requests(both, given)
        assert torch.allclose(vectors_BD[0], vectors_BD[1], atol=1e-6) == same


@pytest.mark.parametrize("kind", ["no_graph", *GRAPH_KINDS])
def test_a_model_does_not_see_the_fields_that_it_is_without(kind: str) -> None:
    seen, batch, model = features(), items(), shaken(kind, without_fields=["brand"])
    before = model.embed_items(batch, seen)
    for place, sees in ((0, False), (1, True)):  # brand, colour
        fields_NF = seen["item"].fields_NF.clone()
        fields_NF[:, place] = (fields_NF[:, place] + 1) % 2
        after = model.embed_items(batch, seen | {"item": replace(seen["item"], fields_NF=fields_NF)})
        assert torch.equal(before, after) != sees


def test_unseen_nodes_have_no_id_and_no_interest() -> None:
    model, given = shaken("zoomer"), features()
    given["item"] = replace(given["item"], degree_N=torch.zeros(SIZES["item"], dtype=torch.long))
    assert (model.interest_vectors(given)["item"] == 0).all()
    norms = model.interest_vectors(given)["user"].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_untrained_zoomer_ranks_by_interest() -> None:
    """The first night's model starts from the interest vectors, not from nothing."""
    given = features()
    model = build("no_graph", {"dim": DIM}, SCHEMA, REQUEST, ITEM)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in (".id.", ".degree.", ".terms.", ".categories.")):
                parameter.zero_()
    dot = build("interest_dot", {}, SCHEMA, REQUEST, ITEM)
    batch = requests()
    scores = [m.embed_requests(batch, given) @ m.embed_items(items(), given).T for m in (model, dot)]
    assert (scores[0].argsort(1) == scores[1].argsort(1)).all()


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [("zomer", {}, "zoomer"), ("zoomer", {"dimm": 4}, "dimm"), ("gat", {"heads": "x"}, "heads")],
)
def test_errors_name_what_is_wrong(kind: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(kind, options, SCHEMA, REQUEST, ITEM)


@pytest.mark.parametrize("kind", ["no_graph", "zoomer"])
def test_nodes_beyond_the_buckets_share_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "DENSE_ROWS", 5)
    model, given = shaken(kind, id_buckets=6).train(), features()
    sizes = {name: sum(p.shape[0] for p in model.encoders[name].id.parameters()) for name in SIZES}
    assert sizes == {"user": 6, "query": 5, "item": 6}
    item_ID = model.embed_items(items(), given)
    item_ID.pow(3).sum().backward()
    assert model.encoders["item"].id.table.weight.grad.is_sparse
    assert model.interest_vectors(given)["item"].shape == (SIZES["item"], INTEREST)


def test_hashed_rows_are_two_of_the_table_and_spread_evenly() -> None:
    table = HashedEmbedding(1000, 2)
    with torch.no_grad():
        table.table.weight.copy_(torch.stack([torch.arange(1000.0), torch.ones(1000)], dim=1))
    sums = table(torch.arange(100_000))
    assert (sums[:, 1] == 2).all()
    torch.testing.assert_close(sums[:, 0].mean(), torch.tensor(999.0), rtol=0.01, atol=0)
    rows = _hash(torch.arange(100_000), 1) % 1000
    counts = rows.bincount(minlength=1000).float()
    assert 8.0 < counts.std() < 12.0  # a binomial's is 10
    assert (rows == _hash(torch.arange(100_000), 2) % 1000).float().mean() < 0.002
