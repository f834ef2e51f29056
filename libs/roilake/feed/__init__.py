"""A pinned version of the lake's tables as equal, seeded shards of tensors. The only room that knows petastorm."""

from roilake.feed.columns import read_columns
from roilake.feed.files import files_of
from roilake.feed.prefetch import Prefetch

__all__ = ["Prefetch", "files_of", "read_columns"]
