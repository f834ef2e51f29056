"""Spark profiles are read in spark-defaults form."""

from __future__ import annotations

from pathlib import Path

import pytest

from roilake.errors import ConfigError
from roilake.lake.session import read_profile


def test_a_profile_is_key_value_lines_with_comments(tmp_path: Path) -> None:
    profile = tmp_path / "p.conf"
    profile.write_text("# a comment\n\nspark.master   local[3]\nspark.x.javaOptions -Da=b -Dc=d\n")
    assert read_profile(profile) == {"spark.master": "local[3]", "spark.x.javaOptions": "-Da=b -Dc=d"}


def test_a_bad_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such Spark profile"):
        read_profile(tmp_path / "none.conf")
    (tmp_path / "p.conf").write_text("spark.master\n")
    with pytest.raises(ConfigError, match=r"'spark\.master' has no value"):
        read_profile(tmp_path / "p.conf")


@pytest.mark.parametrize("name", ["local", "cluster", "gpu"])
def test_the_shipped_profiles_can_be_read(name: str) -> None:
    settings = read_profile(Path(__file__).parents[2] / "conf" / "spark" / f"{name}.conf")
    assert all(key.startswith("spark.") for key in settings)
