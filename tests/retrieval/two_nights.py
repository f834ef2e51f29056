"""Two real nights in a row on a third of the users of MovieLens-100K, and the second one again: made once for all tests
that ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import yaml
from pyspark.sql import SparkSession

from roilake.ingest.files import resolve_path
from roilake.lake import TABLES, Lake, Publication
from roilake.metrics.champion import Champion, champion_of
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.models import makes_interests
from roilake.runtime.night import run_night
from roilake.runtime.registry import load_config
from roilake.runtime.step import StepResult

FIRST, SECOND = date(1998, 4, 10), date(1998, 4, 11)
MODELS = ("zoomer", "no_graph", "popularity", "interest_dot")
REGION = {
    "request_hops": [{"user_query": 5, "user_item": 5, "query_item": 5, "query_user": 5}],
    "item_hops": [{"item_user": 5, "item_query": 5}],
}
"""Of a request's every side, so that there is something to explain."""
CONF = Path(__file__).parents[2] / "conf" / "nights" / "retrieval" / "movielens.yaml"


@dataclass(frozen=True)
class Nights:
    """The lake after night FIRST, night SECOND and SECOND again, with what each run left: the steps' results, the
    publication, and the bytes of the models' files."""

    lake: Lake
    config: RetrievalConfig
    raw: Path
    """The file of events."""
    results: list[dict[str, StepResult]]
    published: list[Publication]
    models: list[dict[str, bytes]]

    def table(self, name: str, run: int, /, **filters: object) -> pa.Table:
        """A table as run number ``run`` published it, by key."""
        version = self.published[run].versions[name]
        rows = self.lake.to_arrow(name, version, filters=filters)
        return rows.sort_by([(key, "ascending") for key in TABLES[name].key])

    def keys(self, run: int) -> dict[tuple[str, int], str]:
        """(node type, id) -> key."""
        ids = self.table("node_ids", run).to_pylist()
        return {(row["node_type"], row["id"]): row["key"] for row in ids}

    def model_folder(self, name: str, run: int) -> Path:
        published = self.published[run]
        where = {"pipeline": "retrieval", "ds": published.ds, "name": name}
        rows = self.lake.to_arrow("models", published.versions["models"], filters=where).to_pylist()
        return self.lake.files.local(rows[0]["path"])

    def served(self, run: int) -> Champion:
        """Who serves run number ``run``."""
        return champion_of(self.lake, self.published[run])

    def base(self) -> str:
        """The model of night FIRST whose vectors night SECOND carries over: the one that served, if it makes any."""
        names = (self.served(0).model, *MODELS)
        return next(name for name in names if makes_interests(self.config.models[name].kind))

    def train_end(self, run: int) -> date | None:
        """What run number ``run`` builds on: the end of what the night before was trained on."""
        if run == 0:
            return None
        models = self.table("models", run - 1, ds=self.published[run - 1].ds, name="zoomer").to_pylist()
        return models[0]["train_end"]


def third_of_users(path: str) -> str:
    """The header, and the lines of users whose number is a multiple of three: 100 of the last weeks' 300, who have most
    events of night SECOND."""
    head, *lines = Path(path).read_text().splitlines()
    return "\n".join([head, *(line for line in lines if int(line.split("\t")[0]) % 3 == 0)]) + "\n"


def run_nights(spark: SparkSession, folder: Path) -> Nights:
    """Run them in ``folder / "lake"``: about half a minute each."""
    tree, raw = yaml.safe_load(CONF.read_text()), folder / "events.inter"
    raw.write_text(third_of_users(resolve_path(tree["source"]["events"]["path"])))
    tree["source"]["events"]["path"] = str(raw)
    tree["windows"]["train"], tree["gates"] = 2, str(CONF.parent / tree["gates"])
    tree["models"] = {name: tree["models"][name] for name in MODELS}
    tree |= {"training": {"epochs": 1}, "scoring": {"top_k": 20}, "roi": REGION}
    tree["evaluation"]["bootstrap"] = 50
    (folder / "night.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    config = load_config(folder / "night.yaml")
    assert isinstance(config, RetrievalConfig)
    lake = Lake.open(spark, folder / "lake", create=True)
    found = Nights(lake, config, raw, [], [], [])
    for ds in (FIRST, SECOND, SECOND):
        found.results.append({result.step: result for result in run_night(lake, config, ds)})
        published = lake.publication("retrieval")
        assert published is not None and published.ds == ds
        found.published.append(published)
        files = [file for name in MODELS for file in found.model_folder(name, len(found.models)).iterdir()]
        found.models.append({lake.files.name(file): file.read_bytes() for file in files})
    return found
