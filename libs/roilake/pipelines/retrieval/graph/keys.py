"""Ids of string keys: a hash table in files, laid out once a night and memory-mapped by every task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roilake.pipelines.retrieval.graph import kernel


class KeyIndex:
    """Looks up ids in the table that ``write`` laid out in ``folder``."""

    def __init__(self, folder: Path) -> None:
        # An empty file cannot be mapped, so the text ends with a byte that belongs to no key.
        self._text, self._at, self._slots = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("text", "at", "slots")
        )

    def __len__(self) -> int:
        return len(self._at) - 1

    @staticmethod
    def write(folder: Path, keys: pa.ChunkedArray) -> None:
        """Key number i has id i."""
        folder.mkdir(parents=True)
        whole = pa.concat_arrays(keys.cast(pa.large_string()).chunks or [pa.array([], pa.large_string())])
        at = np.zeros(len(whole) + 1, np.int64)
        np.cumsum(pc.binary_length(whole).to_numpy(zero_copy_only=False), out=at[1:])
        text = np.append(np.frombuffer(whole.buffers()[2] or b"", np.uint8)[: at[-1]], np.uint8(0))
        for name, array in (("text", text), ("at", at), ("slots", kernel.index_keys(text, at))):
            np.save(folder / f"{name}.npy", array)

    def find(self, keys: pa.StringArray) -> kernel.Ids:
        """Ids of the keys, -1 for unknown ones."""
        _, at, text = keys.buffers()
        if at is None or not len(keys):
            return np.empty(0, np.int32)
        starts = np.frombuffer(at, np.int32)[keys.offset : keys.offset + len(keys) + 1]
        asked = np.frombuffer(text or b"\0", np.uint8)
        return kernel.find_keys(self._text, self._at, self._slots, asked, starts)
