"""Blocks of random bytes in any of GGUF's types, as long as they hold finite numbers."""

from __future__ import annotations

import gguf
import numpy as np

_Type = gguf.GGMLQuantizationType


def _is_dequantised(kind: _Type) -> bool:
    try:
        gguf.quants.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind)
    except NotImplementedError:
        return False
    return True


DEQUANTISED = [kind for kind in _Type if _is_dequantised(kind)]
"""The types that the reference turns into numbers."""


def random_rows(random: np.random.Generator, kind: _Type, rows: int, columns: int) -> np.ndarray:
    """Packed rows, [rows, bytes of a row]; blocks with an infinite or undefined scale are drawn again."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, size=(rows * columns // values, size), dtype=np.uint8)
    while True:
        with np.errstate(invalid="ignore", over="ignore"):
            bad = ~np.isfinite(gguf.quants.dequantize(blocks, kind)).all(axis=-1)
        if not bad.any():
            return blocks.reshape(rows, -1)
        blocks[bad] = random.integers(0, 256, size=(int(bad.sum()), size), dtype=np.uint8)
