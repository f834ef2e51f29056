"""What rows are, as one number: equal for the same rows in any order and in any number of files.

The digest of a table is the sum, modulo 2^64, of its rows' hashes, so that those of several files add up. It tells
whether a rerun gave the same rows (by chance, two tables that differ have one digest once in 2^64), and guards against
nothing that is made to deceive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from roilake.hashing import keyed_hash

Words = NDArray[np.uint64]

_ROWS = 1 << 16
"""Rows hashed at a time, so that what is made of them stays small."""
_NULL = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0xFF51AFD7ED558CCD)
_BITS = {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}


def digest(rows: pa.Table) -> int:
    """The digest of rows, over all columns in the order of their names."""
    names, total = sorted(rows.column_names), np.uint64(0)
    for batch in rows.select(names).to_batches(max_chunksize=_ROWS):
        hashes = keyed_hash(0, *(_hashes(column) for column in batch.columns)) if names else _constant(len(batch))
        with np.errstate(over="ignore"):
            total += hashes.sum(dtype=np.uint64)
    return int(total)


def _hashes(values: pa.Array) -> Words:
    """A hash of each value; of numbers their bits, which ``keyed_hash`` mixes."""
    kind = values.type
    if pa.types.is_null(kind) or not len(values):  # without values there may be no offsets either
        return _constant(len(values))
    if pa.types.is_map(kind):
        found = _of_lists(values, values.keys) + _PRIME * _of_lists(values, values.items)
    elif pa.types.is_list(kind):
        found = _of_lists(values, values.values)
    elif pa.types.is_string(kind):
        found = _of_texts(values)
    else:
        found = _bits(values)
    return np.where(values.is_null().to_numpy(zero_copy_only=False), _NULL, found) if values.null_count else found


def _bits(values: pa.Array) -> Words:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    words = values.view(_BITS[values.type.bit_width // 8])
    return (words.fill_null(0) if words.null_count else words).to_numpy(zero_copy_only=False).astype(np.uint64)


def _of_texts(values: pa.Array) -> Words:
    """As lists of their bytes."""
    _, ends, data = values.buffers()
    offsets = np.frombuffer(ends, np.int32)[values.offset : values.offset + len(values) + 1]
    held = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data is not None else np.zeros(0, np.uint8)
    return _sums(held.astype(np.uint64), offsets - offsets[0])


def _of_lists(values: pa.ListArray | pa.MapArray, held: pa.Array) -> Words:
    offsets = values.offsets.to_numpy()
    first = offsets[0] if len(offsets) else 0
    return _sums(_hashes(held.slice(first, offsets[-1] - first)), offsets - first)


def _sums(held: Words, offsets: NDArray[np.int32]) -> Words:
    """Of each run of ``held`` the sum of its elements, each times an odd number of its place in the run (multilinear
    hashing, Dietzfelbinger et al. 1996), mixed with the run's length."""
    lengths = np.diff(offsets)
    places = np.arange(len(held)) - np.repeat(offsets[:-1], lengths)
    factors = keyed_hash(1, np.arange(lengths.max(initial=0))) | np.uint64(1)
    with np.errstate(over="ignore"):
        # Folded, for the bits of doubles that differ lie high, where a product keeps them.
        folded = (held ^ (held >> np.uint64(32))) * _PRIME
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(folded * factors[places], dtype=np.uint64)])
        return keyed_hash(lengths, (sums[offsets[1:]] - sums[offsets[:-1]]).view(np.int64))


def _constant(length: int) -> Words:
    return np.full(length, _NULL)
