"""Rotary-embedding settings: `rope_theta` and `rope_scaling` as transformers 4 writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .source import Refused, Source

FACTORS = "rope_freqs.weight"
"""The tensor in which GGUF keeps one frequency divisor per rotated pair."""

_LOW_FREQ_FACTOR, _HIGH_FREQ_FACTOR = 1.0, 4.0
_TOLERANCE = 1e-4


def rope_fields(source: Source, head_dim: int) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`; refuses by name what is not `default`, `linear` or `llama3`."""
    rotated = source.of_architecture("rope.dimension_count", head_dim, int)
    if rotated != head_dim:
        raise Refused(f"rope.dimension_count {rotated} rotates only a part of head_dim {head_dim}: not supported")
    for name in source.tensors:
        if name.startswith("rope_factors_"):
            raise Refused(f"rope type longrope (tensor {name}): not supported")
    theta = decimal(source.of_architecture("rope.freq_base", 10000.0, float))
    return {"rope_theta": theta, "rope_scaling": _scaling(source, theta, head_dim)}


def _scaling(source: Source, theta: float, head_dim: int) -> dict[str, Any] | None:
    kind = source.of_architecture("rope.scaling.type", None, str)
    # Files from before `rope.scaling.*` say linear scaling by this key alone.
    factor = source.of_architecture("rope.scaling.factor", source.of_architecture("rope.scale_linear", None, float), float)
    if kind is None:
        kind = "none" if factor in (None, 0.0, 1.0) else "linear"
    if kind not in ("none", "linear"):
        raise Refused(f"rope type {kind}: not supported (none, linear and llama3 are)")
    if FACTORS in source.tensors:
        if kind == "linear" and factor not in (None, 0.0, 1.0):
            raise Refused(f"rope type linear together with {FACTORS}: not supported")
        return _llama3(source, theta, head_dim)
    if kind == "none" or factor == 1.0:
        return None
    if factor is None or not factor > 0.0:
        raise Refused(f"rope type linear needs a positive {source.architecture}.rope.scaling.factor, found {factor}")
    return {"type": "linear", "rope_type": "linear", "factor": decimal(factor)}


def _llama3(source: Source, theta: float, head_dim: int) -> dict[str, Any] | None:
    """The llama3 parameters that reproduce the stored divisors, or a refusal."""
    found = np.array(source.tensors[FACTORS].data, dtype=np.float64).reshape(-1)
    if found.shape != (head_dim // 2,):
        raise Refused(f"tensor {FACTORS}: expected shape [{head_dim // 2}], found {list(found.shape)}")
    if np.all(found == 1.0):
        return None
    factor = decimal(np.float32(found.max()))
    declared = source.of_architecture("rope.scaling.original_context_length", None, int)
    candidates = [declared] if declared else [2**power for power in range(8, 21)]
    for original in candidates:
        expected = llama3_divisors(theta, head_dim, factor, original)
        if np.all(np.abs(found - expected) <= _TOLERANCE * expected):
            return {
                "type": "llama3",
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": _LOW_FREQ_FACTOR,
                "high_freq_factor": _HIGH_FREQ_FACTOR,
                "original_max_position_embeddings": original,
            }
    raise Refused(
        f"tensor {FACTORS} holds divisors that no llama3 scaling with factors"
        f" {_LOW_FREQ_FACTOR:g} and {_HIGH_FREQ_FACTOR:g} explains: this rope type is not supported"
    )


def llama3_divisors(theta: float, head_dim: int, factor: float, original: int) -> np.ndarray:
    """What Llama 3.1's scaling divides each of the head_dim/2 frequencies by."""
    wavelength = 2.0 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    turns = original / wavelength
    smooth = np.clip((turns - _LOW_FREQ_FACTOR) / (_HIGH_FREQ_FACTOR - _LOW_FREQ_FACTOR), 0.0, 1.0)
    return 1.0 / ((1.0 - smooth) / factor + smooth)


def decimal(value: float) -> float:
    """The shortest decimal that reads back as the same 32-bit float: 1e-05, not 9.999999747e-06."""
    return float(str(np.float32(value)))
