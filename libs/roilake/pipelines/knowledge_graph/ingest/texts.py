"""Texts of entities and relations, of any script and length."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def tidy(text: Column, longest: int) -> Column:
    """Text on one line, every run of blanks and control characters one blank, cut to ``longest`` characters; empty for
    a null."""
    line = F.trim(F.regexp_replace(F.coalesce(text, F.lit("")), r"[\s\p{Z}\p{Cc}]+", " "))
    return F.rtrim(F.substring(line, 1, longest))


def words_of(key: Column) -> Column:
    """The words of a key: ``_has_part`` -> has part, ``birthPlace`` -> birth Place."""
    apart = F.regexp_replace(key, r"(\p{Ll})(\p{Lu})", "$1 $2")
    return F.trim(F.regexp_replace(apart, r"[^\p{L}\p{M}\p{N}]+", " "))


def alike(text: Column) -> Column:
    """What two texts have in common that a model cannot tell apart: lower-cased words without signs."""
    return F.lower(words_of(text))
