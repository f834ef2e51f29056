"""A small knowledge graph of films and people as files, and a night on it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from roilake.pipelines.knowledge_graph.config import KnowledgeGraphConfig

DS = date(2020, 1, 10)
FILMS, GENRES, PEOPLE = 60, ("crime", "love", "war"), 12


def write_graph(folder: Path, *, seed: int = 3) -> int:
    """``triples.tsv`` (head, relation, tail), ``entities.tsv`` (key, text) and ``items.tsv``. Film f is of genre f mod
    3, which its text tells, and of person f mod 12, and it is item 100 + f. Returns the number of triples."""
    rng = np.random.default_rng(seed)
    words = {genre: [f"{genre}word{number}" for number in range(4)] for genre in GENRES}
    lines, entities = [], []
    for film in range(FILMS):
        genre = GENRES[film % 3]
        told = " ".join(rng.choice(words[genre], 2, replace=False))
        entities.append(f"f{film}\tFilm {film}: {told}")
        lines += [f"f{film}\thas_genre\t{genre}", f"f{film}\tmadeBy\tp{film % PEOPLE}"]
        if film % 3 == 0 and film + 3 < FILMS:
            lines.append(f"f{film}\tfollowed_by\tf{film + 3}")
    entities += [f"{genre}\t{genre}: {' '.join(words[genre])}" for genre in GENRES]
    entities += [f"p{person}\tPerson {person}" for person in range(PEOPLE)]
    (folder / "triples.tsv").write_text("\n".join(lines) + "\n")
    (folder / "entities.tsv").write_text("\n".join(entities) + "\n")
    (folder / "items.tsv").write_text("".join(f"f{film}\t{100 + film}\n" for film in range(FILMS)))
    return len(lines)


def file_of(path: Path, **columns: Any) -> dict[str, Any]:
    """A tab-separated file without a header."""
    return {"path": str(path), "format": "csv", "options": {"sep": "\t", "header": "false", "quote": ""}, **columns}


def triples_of(path: Path, **columns: Any) -> dict[str, Any]:
    """A file of triples."""
    return file_of(path, **{"head": "_c0", "relation": "_c1", "tail": "_c2", **columns})


def night_of(folder: Path, **sections: Any) -> KnowledgeGraphConfig:
    """A night on these files, of a few steps; ``graph`` changes keys of its section."""
    graph = {
        "triples": {"facts": triples_of(folder / "triples.tsv")},
        "entities": {"all": file_of(folder / "entities.tsv", key="_c0", text="_c1")},
        "items": file_of(folder / "items.tsv", entity="_c0", item="_c1"),
        "split": {"validation": 0.15, "test": 0.2},
    }
    tree: dict[str, Any] = {
        "pipeline": "knowledge_graph",
        "name": "small",
        "seed": 5,
        "graph": {**graph, **sections.pop("graph", {})},
        "models": {"compl_ex": {"kind": "compl_ex", "learning_rate": 0.05, "options": {"width": 32}}},
        "training": {"epochs": 20, "validate_every": 10, "batch_size": 64},
        "evaluation": {"bootstrap": 20},
        "completion": {"asked": "items", "top": 3},
    }
    return KnowledgeGraphConfig.model_validate({**tree, **sections})
