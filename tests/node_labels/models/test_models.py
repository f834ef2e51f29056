"""Node models: shapes, gradients, awkward nodes, and what each option of MWGNN changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roilake.errors import ConfigError
from roilake.pipelines.node_labels import models
from roilake.pipelines.node_labels.models import GraphShape, NodeGraph
from roilake.training.context import determinism, threads
from tests.node_labels.small_graph import CLASSES, FEATURELESS, ISOLATED, NODES, permuted, small_graph

KINDS = ("gat", "gat_sep", "gcn", "gcn_sep", "gpr_gnn", "graphsage", "h2gcn", "mlp", "mwgnn")
RECONSTRUCTION: dict[str, Any] = {"residual": False, "states": False, "lead": 0.0}
FORMS = [
    *((kind, {}) for kind in KINDS),
    ("mwgnn", RECONSTRUCTION),
    ("mwgnn", {"gate": "signed", "layers": 3}),
    ("gat", {"layers": 1}),
    ("mwgnn", {**RECONSTRUCTION, "layers": 1}),
]


@pytest.fixture(autouse=True)
def _as_in_training() -> Iterator[None]:
    with threads(1), determinism("strict"):
        yield


def model(kind: str, graph: NodeGraph | None = None, **options: Any) -> nn.Module:
    """Without dropout; what starts at zero is moved off it, so that every part counts."""
    torch.manual_seed(3)
    shape = GraphShape.of(graph or small_graph(), CLASSES)
    built = models.build(kind, {"hidden": 16, "dropout": 0.0, **options}, shape)
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return built


def logits(built: nn.Module, graph: NodeGraph) -> Tensor:
    with torch.no_grad():
        found: Tensor = built(graph)
    return found


def test_kinds_and_their_options() -> None:
    assert models.kinds() == KINDS
    shape = GraphShape.of(small_graph(), CLASSES)
    with pytest.raises(ConfigError, match="unknown kind 'gin': one of gat"):
        models.build("gin", {}, shape)
    for kind in KINDS:
        with pytest.raises(ConfigError, match=rf"{kind}: option 'width'.*options: hidden, layers, dropout"):
            models.build(kind, {"width": 3}, shape)
    with pytest.raises(ConfigError, match="meta-weights need one of topology, position and feature"):
        models.check("mwgnn", {"topology": False, "position": False, "feature": False})
    with pytest.raises(ConfigError, match="hidden must be a multiple of heads"):
        models.check("gat", {"hidden": 20, "heads": 8})


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_every_parameter_learns_and_awkward_nodes_are_finite(kind: str, options: dict[str, Any]) -> None:
    graph, built = small_graph(), model(kind, **options)
    assert not (graph.edge_2E == ISOLATED).any() and not graph.features_NF.to_dense()[FEATURELESS].any()
    found_NC = built(graph)
    assert found_NC.shape == (NODES, CLASSES) and found_NC.isfinite().all()
    (found_NC * torch.randn(NODES, CLASSES)).sum().backward()
    missing = [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_the_order_of_nodes_does_not_matter(kind: str, options: dict[str, Any]) -> None:
    graph, built = small_graph(), model(kind, **options).eval()
    order_N = torch.randperm(NODES)
    torch.testing.assert_close(logits(built, permuted(graph, order_N)), logits(built, graph)[order_N])


@pytest.mark.parametrize("kind", KINDS)
def test_in_mixed_precision_it_is_nearly_the_same(kind: str) -> None:
    graph, built = small_graph(), model(kind)
    assert len(graph.second_neighbours.column_E)  # laid out once, on the CPU: a GPU's mixed precision is not there
    with torch.autocast("cpu", torch.bfloat16):
        found_NC = built(graph)
    found_NC.float().sum().backward()
    torch.testing.assert_close(found_NC.detach().float(), logits(built, graph), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_without_edges_or_features(kind: str) -> None:
    graph = small_graph(edges=0)
    bare = replace(graph, features_NF=torch.zeros(NODES, 12).to_sparse_csr())
    for each in (graph, bare):
        built = model(kind)
        found_NC = built(each)
        assert found_NC.isfinite().all()
        found_NC.sum().backward()


def test_only_the_mlp_sees_no_edge() -> None:
    graph = small_graph()
    other = replace(graph, edge_2E=small_graph(seed=1).edge_2E)
    blind = [kind for kind in KINDS if torch.equal(*(logits(model(kind), each) for each in (graph, other)))]
    assert blind == ["mlp"]


def same_weights(mwgnn: Any, gcn: Any) -> None:
    for layer, convolution in zip(mwgnn.layers, gcn.stack.layers, strict=True):
        layer.convolution.load_state_dict(convolution.state_dict(), strict=False)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_with_gates_of_one_and_no_channels_it_is_gcn(layers: int) -> None:
    graph = small_graph()
    bare = {**RECONSTRUCTION, "independent_channels": False, "layers": layers}
    gcn = model("gcn", layers=layers)
    fixed = model("mwgnn", **bare, gate="one")
    same_weights(fixed, gcn)
    torch.testing.assert_close(logits(fixed, graph), logits(gcn, graph), atol=1e-6, rtol=0)
    for gate in ("positive", "signed"):  # at the start
        gated: Any = model("mwgnn", **bare, gate=gate)
        same_weights(gated, gcn)
        assert not torch.allclose(logits(gated, graph), logits(gcn, graph), atol=1e-4)
        for layer in gated.layers:
            nn.init.zeros_(layer.convolution.gate.ends.weight)
        torch.testing.assert_close(logits(gated, graph), logits(gcn, graph), atol=1e-6, rtol=0)


def test_gcn_and_gat_are_those_of_torch_geometric() -> None:
    import torch_geometric.nn as geometric

    graph, x_NF = small_graph(), small_graph().features_NF.to_dense()
    ours: Any = model("gcn", layers=1)
    theirs = geometric.GCNConv(12, CLASSES)
    theirs.load_state_dict({"bias": ours.stack.layers[0].bias, "lin.weight": ours.stack.layers[0].lin.weight.T})
    torch.testing.assert_close(logits(ours, graph), theirs(x_NF, graph.edge_2E).detach())
    gat: Any = model("gat", layers=1)
    layer = gat.stack.layers[0]
    theirs = geometric.GATConv(12, CLASSES, 1)
    state = {name: p for name, p in layer.state_dict().items() if not name.startswith("map")}
    theirs.load_state_dict({**state, "lin.weight": layer.map.weight.T})
    torch.testing.assert_close(logits(gat, graph), theirs(x_NF, graph.edge_2E).detach())
    sage: Any = model("graphsage", layers=1)
    theirs = geometric.SAGEConv(16, CLASSES)
    theirs.load_state_dict(sage.convolutions[0].state_dict())
    hidden_ND = torch.relu(sage.first(graph))
    torch.testing.assert_close(logits(sage, graph), theirs(hidden_ND, graph.edge_2E).detach())


def test_second_neighbours_are_two_hops_away_and_no_nearer() -> None:
    graph = small_graph()
    near = torch.zeros(NODES, NODES, dtype=torch.bool)
    near[graph.edge_2E[1], graph.edge_2E[0]] = True
    walks = near.float() @ near.float() > 0
    pattern = graph.second_neighbours
    found = pattern.matrix(torch.ones(len(pattern.column_E))).to_dense() > 0
    assert torch.equal(found, walks & ~near & ~torch.eye(NODES, dtype=torch.bool))


SOURCES = {"topology": "topology_NM", "position": "position_NS", "feature": "similarity_NB"}


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("off", SOURCES)
def test_a_source_that_is_off_is_not_looked_at(off: str, residual: bool) -> None:
    graph = small_graph()
    for source, name in SOURCES.items():
        changed = replace(graph, **{name: getattr(graph, name).flip(0)})
        built = model("mwgnn", residual=residual, **{off: False})
        assert torch.equal(logits(built, changed), logits(built, graph)) == (source == off)


@pytest.mark.parametrize("residual", [True, False])
def test_gates_and_channels_are_what_meta_weights_act_through(residual: bool) -> None:
    graph = small_graph()
    changed = replace(graph, topology_NM=graph.topology_NM.flip(0))

    def acts(**options: Any) -> bool:
        built = model("mwgnn", residual=residual, **options)
        return not torch.equal(logits(built, changed), logits(built, graph))

    assert acts(gate="one") and acts(independent_channels=False)
    assert not acts(gate="one", independent_channels=False)


def test_gates_lie_between_their_bounds() -> None:
    graph = small_graph()
    for kind, low, high in (("positive", 0.0, 2.0), ("signed", -1.0, 3.0)):
        gate: Any = model("mwgnn", gate=kind, states=False)
        gate = gate.layers[0].convolution.gate
        found_E = gate(100 * torch.randn(NODES, 64), graph.neighbours)
        assert found_E.min() >= low and found_E.max() <= high and found_E.std() > 0.5
        assert found_E.shape == (graph.edge_2E.shape[1],)
