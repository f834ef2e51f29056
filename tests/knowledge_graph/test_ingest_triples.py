"""Files of triples and texts -> the graph: what counts, what is quarantined, what is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.knowledge_graph import ingest_triples
from roilake.errors import AuditError, SourceError
from roilake.lake import Lake
from roilake.pipelines.knowledge_graph.ingest.files import AGAIN, ELSEWHERE, EMPTY, STRANGER, TWICE
from roilake.pipelines.knowledge_graph.ingest.graph import check_relations
from roilake.pipelines.knowledge_graph.ingest.texts import words_of
from tests.knowledge_graph.small import DS, FILMS, file_of, night_of, triples_of, write_graph


def rows(lake: Lake, table: str) -> list[dict]:
    return lake.to_arrow(table, lake.version(table), filters={"ds": DS}).to_pylist()


def facts(lake: Lake) -> dict[tuple[str, str, str], str]:
    """Splits by triple."""
    return {(row["head"], row["relation"], row["tail"]): row["split"] for row in rows(lake, "triples")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_graph(tmp_path)
    return tmp_path


def test_every_triple_is_there_once_with_texts_items_and_words_of_relations(lake: Lake, folder: Path) -> None:
    result = ingest_triples.run(lake, night_of(folder), DS)
    lines = [tuple(line.split("\t")) for line in (folder / "triples.tsv").read_text().splitlines()]
    assert facts(lake).keys() == {*lines} and len(rows(lake, "triples")) == len(lines)
    entities = sorted(rows(lake, "entity_texts"), key=lambda row: row["entity"])
    assert [row["entity"] for row in entities] == [*range(len(entities))]
    told = dict(line.split("\t") for line in (folder / "entities.tsv").read_text().splitlines())
    assert {row["key"]: row["text"] for row in entities} == told and [*told] != sorted(told)
    assert [row["key"] for row in entities] == sorted(told)
    assert {row["key"]: row["items"] for row in entities if row["items"]} == {
        f"f{film}": [str(100 + film)] for film in range(FILMS)
    }
    relations = [(row["relation"], row["key"], row["text"]) for row in rows(lake, "relations")]
    texts = {"followed_by": "followed by", "has_genre": "has genre", "madeBy": "made by"}
    assert sorted(relations) == [(number, *pair) for number, pair in enumerate(texts.items())]
    assert result.rows_quarantined == 0
    assert result.details["texts"] == {"entities": len(told), "without": 0, "cut": 0}


def test_a_split_is_drawn_by_the_two_entities_in_any_order(lake: Lake, folder: Path) -> None:
    ingest_triples.run(lake, night_of(folder), DS)
    before = facts(lake)
    assert {*before.values()} == {"train", "validation", "test"}
    with (folder / "triples.tsv").open("a") as file:
        file.writelines(f"{tail}\tinverse\t{head}\n" for head, _, tail in before)
    ingest_triples.run(lake, night_of(folder), DS)
    after = facts(lake)
    assert {triple: after[triple] for triple in before} == before
    assert all(after[tail, "inverse", head] == split for (head, _, tail), split in before.items())


def quarantined(lake: Lake) -> list[tuple[str, str]]:
    return sorted((row["source"], row["reason"]) for row in rows(lake, "quarantine"))


def write(folder: Path, **files: str) -> dict[str, dict]:
    """Files of triples, by name with their text."""
    for name, text in files.items():
        (folder / f"{name}.tsv").write_text(text)
    return {name: triples_of(folder / f"{name}.tsv") for name in files}


def test_what_is_said_twice_counts_once_and_for_evaluation(lake: Lake, folder: Path) -> None:
    """A triple of train and test is not learnt from; a loop is a fact like any other; doubles count once."""
    train = "f1\tknows\tf2\nf1\tknows\tf2\nf1\tknows\tf4\nf5\tknows\tf5\nf5\tknows\tf5\n"
    files = write(folder, train=train, test="f1\tknows\tf2\n")
    triples = {name: {**file, "split": name} for name, file in files.items()}
    given = {"triples": {"facts": triples_of(folder / "triples.tsv"), **triples}, "quarantine_budget": 1.0}
    result = ingest_triples.run(lake, night_of(folder, graph=given), DS)
    found = {triple: split for triple, split in facts(lake).items() if triple[1] == "knows"}
    assert found == {("f1", "knows", "f2"): "test", ("f1", "knows", "f4"): "train", ("f5", "knows", "f5"): "train"}
    assert quarantined(lake) == [("triples.train", ELSEWHERE)]
    assert result.details["left_out"] == {AGAIN: 2}


def test_an_unknown_entity_is_rejected_left_out_or_its_own_text(lake: Lake, folder: Path) -> None:
    """And what has no key, no tail, or a key that is taken is quarantined."""
    texts = {name: f"f1\tshot_in\t{name}\nnobody\tshot_in\tf2{name}\n" for name in ("reject", "leave_out")}
    files = write(folder, **texts, key_is_text="f1\tshot_in\tРим\nf1\tshot_in\t\n")
    triples = {name: {**file, "unknown": name} for name, file in files.items()}
    for name, more in (("entities", "f1\tanother film\n\tno key\n"), ("items", "nobody\t7\nf2\t100\n")):
        with (folder / f"{name}.tsv").open("a") as file:
            file.write(more)
    given = {"triples": {"facts": triples_of(folder / "triples.tsv"), **triples}, "quarantine_budget": 1.0}
    result = ingest_triples.run(lake, night_of(folder, graph=given), DS)
    assert {triple for triple in facts(lake) if triple[1] == "shot_in"} == {("f1", "shot_in", "Рим")}
    told = {row["key"]: row["text"] for row in rows(lake, "entity_texts")}
    assert told["Рим"] == "Рим" and "nobody" not in told
    assert result.details["left_out"] == {STRANGER: 2}
    assert quarantined(lake) == [
        ("entities.all", "no key"), ("entities.all", TWICE), ("items", STRANGER), ("items", TWICE),
        ("triples.key_is_text", "no tail"), ("triples.reject", STRANGER), ("triples.reject", STRANGER),
    ]  # fmt: skip


TEXTS = {
    "long": ("x" * 100_000, "x" * 2000),
    "arabic": ("\u0641\u064a\u0644\u0645: \u062d\u0631\u0628", "\u0641\u064a\u0644\u0645: \u062d\u0631\u0628"),
    "japanese": ("映画\u3000戦争", "映画 戦争"),
    "emoji": ("👩‍🚀" * 1500, ("👩‍🚀" * 1500)[:2000]),
    "signs": ("a\x00b\x07  c\u2028d", "a b c d"),
    "none": (" \u3000", ""),
}


def test_texts_of_any_length_and_script_and_none(lake: Lake, folder: Path) -> None:
    with (folder / "entities.tsv").open("a") as file:
        file.writelines(f"{name}\t{text}\n" for name, (text, _) in TEXTS.items())
    result = ingest_triples.run(lake, night_of(folder), DS)
    found = {row["key"]: row["text"] for row in rows(lake, "entity_texts")}
    assert {name: found[name] for name in TEXTS} == {name: kept for name, (_, kept) in TEXTS.items()}
    assert (result.details["texts"]["without"], result.details["texts"]["cut"]) == (1, 2)


def test_relations_whose_texts_collide_are_refused_until_they_have_others(lake: Lake, folder: Path) -> None:
    with (folder / "triples.tsv").open("a") as file:
        file.write("f1\tHas  Genre!\tlove\n")
    with pytest.raises(AuditError, match=r"'Has  Genre!' and 'has_genre' have one text, 'has genre', "):
        ingest_triples.run(lake, night_of(folder), DS)
    (folder / "relations.tsv").write_text("Has  Genre!\tis of another genre\n")
    relations = file_of(folder / "relations.tsv", key="_c0", text="_c1")
    ingest_triples.run(lake, night_of(folder, graph={"relations": relations}), DS)
    assert {row["key"]: row["text"] for row in rows(lake, "relations")}["Has  Genre!"] == "is of another genre"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("_hypernym", "hypernym"),
        ("birthPlace", "birth place"),
        ("/film/genre", "film genre"),
        ("住所", "住所"),
        ("->", ""),
    ],
)
def test_the_words_of_a_key(key: str, words: str) -> None:
    assert words_of(key) == words


def test_a_relation_of_signs_needs_a_text() -> None:
    with pytest.raises(AuditError, match=r"relation '->' has no words; give it a text in graph\.relations"):
        check_relations({"->": "->"})


def test_lists_conditions_and_aliases(lake: Lake, folder: Path) -> None:
    files = write(folder, lists="f1\tlove  war\nf2\t\nm.03\tlove\nx\tlove\n")
    files["lists"] |= {"relation": "'is about'", "tail": "split(_c1, ' ')", "where": "_c0 <> 'x'"}
    (folder / "aliases.tsv").write_text("m.03\tf3\nm.02\tf2\nm.02\tf3\n")
    given = {
        "triples": {"facts": triples_of(folder / "triples.tsv"), **files},
        "aliases": file_of(folder / "aliases.tsv", alias="_c0", key="_c1"),
        "quarantine_budget": 1.0,
    }
    result = ingest_triples.run(lake, night_of(folder, graph=given), DS)
    assert {triple for triple in facts(lake) if triple[1] == "is about"} == {
        ("f1", "is about", "love"), ("f1", "is about", "war"), ("f3", "is about", "love")
    }  # fmt: skip
    assert result.details["left_out"] == {EMPTY: 2, "its condition where does not hold": 1}
    assert quarantined(lake) == [("aliases", TWICE)]


def test_files_that_lose_too_much_stop_the_night(lake: Lake, folder: Path) -> None:
    (folder / "triples.tsv").write_text("".join(f"f{n}\tknows\tstranger{n}\n" for n in range(50)))
    with pytest.raises(AuditError, match=r"graph.triples.facts \(.*triples.tsv\): 50 of 50 rows were rejected"):
        ingest_triples.run(lake, night_of(folder), DS)
    assert not lake.exists("triples")


def test_a_split_without_a_triple_and_a_column_that_is_not_there_are_named(lake: Lake, folder: Path) -> None:
    triples = {"facts": triples_of(folder / "triples.tsv", split="train")}
    with pytest.raises(AuditError, match="0 of 139 triples are in split validation, at least 1 is needed"):
        ingest_triples.run(lake, night_of(folder, graph={"triples": triples}), DS)
    triples = {"facts": triples_of(folder / "triples.tsv", tail="_c7")}
    with pytest.raises(SourceError, match=r"triples.tsv: graph.triples.facts.tail: '_c7' does not fit.*`_c2`"):
        ingest_triples.run(lake, night_of(folder, graph={"triples": triples}), DS)


def test_parquet_is_read_too(lake: Lake, folder: Path) -> None:
    names = ("subject", "predicate", "object")
    cells = [line.split("\t") for line in (folder / "triples.tsv").read_text().splitlines()]
    columns = dict(zip(names, map(list, zip(*cells, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "triples.parquet")
    file = {"path": str(folder / "triples.parquet"), "format": "parquet"}
    mapped = dict(zip(("head", "relation", "tail"), names, strict=True))
    ingest_triples.run(lake, night_of(folder, graph={"triples": {"facts": {**file, **mapped}}}), DS)
    assert len(rows(lake, "triples")) == len(cells)
