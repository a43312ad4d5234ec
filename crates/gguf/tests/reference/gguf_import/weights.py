"""Which GGUF tensor becomes which Hugging Face tensor, and model.safetensors written from them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from .rope import FACTORS
from .source import Refused, Source

BLOCK_BYTES = 64 << 20
"""Values are dequantised and written in pieces of about this many bytes of float32."""


@dataclass(frozen=True)
class Planned:
    """One tensor to write. `stored` is None for a bias that GGUF leaves out and the class expects (zeros)."""

    name: str
    shape: tuple[int, ...]
    stored: Any | None
    interleaved_heads: int | None = None
    """The number of heads whose rows GGUF keeps in interleaved order, None where it does not."""


def plan(source: Source, config: dict[str, Any]) -> list[Planned]:
    """Every tensor of the model in writing order; refuses missing, misshapen and unexpected ones."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads, head_dim = (config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    queries, keys = heads * head_dim, kv_heads * head_dim
    # llama.cpp's converter reorders Q and K of "llama" files (Mistral among them) and of no other.
    interleaved = config["model_type"] in ("llama", "mistral")
    left = dict(source.tensors)
    left.pop(FACTORS, None)
    planned: list[Planned] = []

    def take(stored_name: str, name: str, shape: tuple[int, ...], heads: int | None = None, zeros: bool = False) -> None:
        stored = left.pop(stored_name, None)
        if stored is None and not zeros:
            raise Refused(f"{source.path}: tensor {stored_name} is missing, expected shape {list(shape)}")
        if stored is not None:
            found = tuple(int(size) for size in reversed(stored.shape))
            if found != shape:
                raise Refused(f"tensor {stored_name}: expected shape {list(shape)}, found {list(found)}")
        planned.append(Planned(name, shape, stored, heads if interleaved else None))

    take("token_embd.weight", "model.embed_tokens.weight", (config["vocab_size"], hidden))
    for layer in range(config["num_hidden_layers"]):
        here, there = f"blk.{layer}.", f"model.layers.{layer}."
        take(f"{here}attn_norm.weight", f"{there}input_layernorm.weight", (hidden,))
        for part, rows, columns, part_heads in (
            ("q", queries, hidden, heads),
            ("k", keys, hidden, kv_heads),
            ("v", keys, hidden, None),
            ("o", hidden, queries, None),
        ):
            stored_part = "attn_output" if part == "o" else f"attn_{part}"
            take(f"{here}{stored_part}.weight", f"{there}self_attn.{part}_proj.weight", (rows, columns), part_heads)
            if config["model_type"] == "qwen2":
                biased = part != "o"
            else:
                biased = config.get("attention_bias", False)
            if biased:
                zeros = config["model_type"] != "qwen2"
                take(f"{here}{stored_part}.bias", f"{there}self_attn.{part}_proj.bias", (rows,), part_heads, zeros)
        if config["model_type"] == "qwen3":
            take(f"{here}attn_q_norm.weight", f"{there}self_attn.q_norm.weight", (head_dim,))
            take(f"{here}attn_k_norm.weight", f"{there}self_attn.k_norm.weight", (head_dim,))
        take(f"{here}ffn_norm.weight", f"{there}post_attention_layernorm.weight", (hidden,))
        for part, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
            take(f"{here}ffn_{part}.weight", f"{there}mlp.{part}_proj.weight", (rows, columns))
            if config.get("mlp_bias", False):
                take(f"{here}ffn_{part}.bias", f"{there}mlp.{part}_proj.bias", (rows,), zeros=True)
    take("output_norm.weight", "model.norm.weight", (hidden,))
    if not config["tie_word_embeddings"]:
        take("output.weight", "lm_head.weight", (config["vocab_size"], hidden))
    if left:
        raise Refused(f"{source.path}: tensor {min(left)} has no place in {config['architectures'][0]}")
    return planned


def half_split_rows(rows: int, heads: int) -> np.ndarray:
    """For each row in Hugging Face's order, the row that holds it in GGUF's.

    Hugging Face rotates element j of a head with element j + d/2; GGUF's "llama" files keep
    such a pair side by side, in rows 2j and 2j + 1.
    """
    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)


def write(planned: list[Planned], path: Path, dtype: str, progress: Callable[[int, int], None]) -> None:
    """Writes model.safetensors; `progress` is called with bytes written and bytes in all."""
    width = {"f32": 4, "bf16": 2}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in planned:
        begin, end = end, end + width * int(np.prod(tensor.shape, dtype=np.int64))
        header[tensor.name] = {"dtype": dtype.upper(), "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    # The length prefix is 8 bytes, so padding the header to 8 aligns the data.
    text += b" " * (-len(text) % 8)

    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        written = 0
        for tensor in planned:
            for values in _blocks(tensor):
                if not np.isfinite(values).all():
                    raise Refused(f"tensor {tensor.stored.name}: holds values that are not finite")
                block = values.astype("<f4", copy=False) if dtype == "f32" else to_bf16(values)
                file.write(np.ascontiguousarray(block).data)
                written += width * values.size
            progress(written, end)
        file.flush()
        os.fsync(file.fileno())
    if written != end:
        raise Refused(f"{path}: wrote {written} bytes of tensors, expected {end}")


def _blocks(tensor: Planned) -> Iterator[np.ndarray]:
    """The tensor's values in float32, a block of rows at a time."""
    if tensor.stored is None:
        yield np.zeros(tensor.shape, dtype=np.float32)
        return
    stored = tensor.stored
    if len(tensor.shape) == 1:
        order = None if tensor.interleaved_heads is None else half_split_rows(tensor.shape[0], tensor.interleaved_heads)
        values = _dequantise(stored, stored.data).reshape(-1)
        yield values if order is None else values[order]
        return
    rows, columns = tensor.shape
    order = None if tensor.interleaved_heads is None else half_split_rows(rows, tensor.interleaved_heads)
    step = max(1, BLOCK_BYTES // (4 * columns))
    for start in range(0, rows, step):
        chosen = slice(start, start + step) if order is None else order[start : start + step]
        values = _dequantise(stored, stored.data[chosen])
        if values.shape[1:] != (columns,):
            raise Refused(f"tensor {stored.name}: expected {columns} columns, found {list(values.shape[1:])}")
        yield values


def _dequantise(stored: Any, data: np.ndarray) -> np.ndarray:
    try:
        return gguf.quants.dequantize(data, stored.tensor_type).astype(np.float32, copy=False)
    except NotImplementedError as error:
        raise Refused(f"tensor {stored.name}: type {stored.tensor_type.name} cannot be dequantised") from error


def to_bf16(values: np.ndarray) -> np.ndarray:
    """float32 rounded to bfloat16, ties to even, as 16-bit patterns."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype("<u2")
