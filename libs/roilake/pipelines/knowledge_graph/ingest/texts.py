"""Texts of entities and relations, of any script and length."""

from __future__ import annotations

import re

from pyspark.sql import Column
from pyspark.sql import functions as F


def tidy(text: Column, longest: int) -> Column:
    """Text on one line, every run of blanks and control characters one blank, cut to ``longest`` characters; empty for
    a null."""
    line = F.trim(F.regexp_replace(F.coalesce(text, F.lit("")), r"[\s\p{Z}\p{Cc}]+", " "))
    return F.rtrim(F.substring(line, 1, longest))


def words_of(key: str) -> str:
    """The words of a key: ``_has_part`` -> has part, ``birthPlace`` -> birth place."""
    apart = "".join(f" {char}" if before.islower() and char.isupper() else char for before, char in _pairs(key))
    return " ".join(re.split(r"[\W_]+", apart)).strip().lower()


def _pairs(text: str) -> zip[tuple[str, str]]:
    return zip(f" {text}", text, strict=False)
