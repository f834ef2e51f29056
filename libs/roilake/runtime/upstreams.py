"""Which publication of another pipeline a night reads: that pipeline's last one up to the night's own end, never
later, so that a back-fill reads what it would have read."""

from __future__ import annotations

from datetime import date, timedelta

from roilake.config import NightConfig
from roilake.errors import LakeError
from roilake.lake import Lake, Publication
from roilake.runtime.registry import pipelines


def find_upstream(lake: Lake, config: NightConfig, ds: date, name: str) -> Publication | None:
    """The publication of pipeline ``name`` that night ``ds`` reads; None where there is none and none is needed. Raises
    LakeError, with the command that makes one, where the config needs it."""
    pipelines()  # loads the definitions of the tables that the caller is about to read
    found = lake.publication(name, before=ds + timedelta(days=1))
    if found is None and config.upstreams.get(name):
        raise LakeError(
            f"{lake.path}: pipeline {config.pipeline!r} needs a night of {name!r} up to {ds}, and none is published; "
            f"run one first: roilake night --conf conf/nights/{name}/YOURS.yaml --ds {ds} --lake {lake.path}"
        )
    return found


def check_upstreams(lake: Lake, config: NightConfig, ds: date) -> None:
    """Raises LakeError for an upstream that the config needs and that is not published."""
    for name in config.upstreams:
        find_upstream(lake, config, ds, name)


def described(publication: Publication, *tables: str) -> dict[str, object]:
    """What is kept of an upstream that was read."""
    versions = {table: publication.versions[table] for table in tables}
    return {"ds": str(publication.ds), "run_id": publication.run_id, "tables": versions}
