"""Files of nodes and edges -> the graph: what counts, what is quarantined, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.node_labels import build_label_graph
from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from tests.node_labels.small import DS, NODES, night_of, write_graph


def rows(lake: Lake, table: str) -> list[dict]:
    return lake.to_arrow(table, lake.version(table), filters={"ds": DS}).to_pylist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_graph(tmp_path)
    return tmp_path


def test_the_graph_has_each_node_and_each_pair_once(lake: Lake, folder: Path) -> None:
    config = night_of(folder)
    result = build_label_graph.run(lake, config, DS)
    nodes = sorted(rows(lake, "graph_nodes"), key=lambda row: row["node"])
    assert [row["node"] for row in nodes] == [*range(NODES)]
    assert [row["key"] for row in nodes] == sorted(f"n{node}" for node in range(NODES))
    number = {row["key"]: row["node"] for row in nodes}
    lines = (folder / "edges.csv").read_text().split()[1:]
    ends = [tuple(number[key] for key in line.split(",")) for line in lines]
    pairs = {(min(pair), max(pair)) for pair in ends if pair[0] != pair[1]}
    found = [(row["src"], row["dst"]) for row in rows(lake, "graph_edges")]
    assert len(found) == len(pairs) and set(found) == pairs
    assert result.rows_in == NODES + len(lines) and result.rows_quarantined == 0
    names = {row["feature"]: row["name"] for row in rows(lake, "graph_features")}
    cells = [line.split(",") for line in (folder / "nodes.csv").read_text().split("\n")[1:-1]]
    words = {key: {*text.split()} for key, _, text in cells}
    for row in nodes:
        assert row["features"] == sorted(row["features"])
        assert {names[feature] for feature in row["features"]} == words[row["key"]]


def test_spark_keeps_nothing_of_it(lake: Lake, folder: Path) -> None:
    def kept() -> int:
        return lake.spark.sparkContext._jsc.getPersistentRDDs().size()

    before = kept()
    build_label_graph.run(lake, night_of(folder), DS)
    assert kept() == before


def test_known_labels_are_split_by_key_alone(lake: Lake, folder: Path) -> None:
    build_label_graph.run(lake, night_of(folder), DS)
    before = {row["key"]: row["split"] for row in rows(lake, "graph_nodes")}
    assert {split: [*before.values()].count(split) for split in {*before.values()}}.keys() == {
        "train", "validation", "test", "unlabelled",
    }  # fmt: skip
    assert all((split == "unlabelled") == (int(key[1:]) % 10 == 0) for key, split in before.items())
    lines = (folder / "nodes.csv").read_text().split("\n")
    (folder / "nodes.csv").write_text("\n".join([lines[0], "aa,even,w1", *reversed(lines[1:])]))
    build_label_graph.run(lake, night_of(folder), DS)
    after = {row["key"]: row["split"] for row in rows(lake, "graph_nodes")}
    assert {key: after[key] for key in before} == before


def test_bad_rows_are_quarantined_with_a_reason(lake: Lake, folder: Path) -> None:
    with (folder / "nodes.csv").open("a") as file:
        file.write("n7,odd,w1\n,odd,w1\n")
    with (folder / "edges.csv").open("a") as file:
        file.write("n1,nobody\nn1,\n")
    config = night_of(folder, graph={"quarantine_budget": 0.1})
    result = build_label_graph.run(lake, config, DS)
    found = lake.to_arrow("quarantine", lake.version("quarantine")).to_pylist()
    reasons = sorted((row["source"], row["reason"]) for row in found)
    assert reasons == [
        ("edges", "names a node that graph.nodes does not have"),
        ("edges", "no target key"),
        ("nodes", "no key"),
        ("nodes", "repeats a key"),
    ]
    assert result.rows_quarantined == 4 and len(rows(lake, "graph_nodes")) == NODES


def test_files_that_lose_too_much_stop_the_night(lake: Lake, folder: Path) -> None:
    (folder / "edges.csv").write_text("a,b\n" + "".join(f"n{n},other{n}\n" for n in range(50)))
    with pytest.raises(AuditError, match=r"graph.edges \(.*edges.csv\): 50 of 50 rows were rejected"):
        build_label_graph.run(lake, night_of(folder), DS)
    assert not lake.exists("graph_nodes")


@pytest.mark.parametrize("kind", ["", "odd"])
def test_one_label_is_nothing_to_learn(lake: Lake, folder: Path, kind: str) -> None:
    text = (folder / "nodes.csv").read_text()
    (folder / "nodes.csv").write_text(text.replace(",even,", f",{kind},").replace(",odd,", f",{kind},"))
    with pytest.raises(AuditError, match="two are needed to tell apart"):
        build_label_graph.run(lake, night_of(folder), DS)


def test_too_many_labels_are_refused(lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_label_graph, "MOST_LABELS", 1)
    with pytest.raises(AuditError, match="2 different labels are known, at most 1 can be learnt"):
        build_label_graph.run(lake, night_of(folder), DS)


def test_a_column_that_is_not_there_is_named(lake: Lake, folder: Path) -> None:
    config = night_of(folder, graph={"edges": {
        "path": str(folder / "edges.csv"), "format": "csv", "source": "a", "target": "c",
    }})  # fmt: skip
    with pytest.raises(SourceError, match=r"edges.csv: graph.edges.target_key: 'c' does not fit.*columns are `a`, `b`"):
        build_label_graph.run(lake, config, DS)
