"""Writes tests/golden: what the reference makes of random blocks of every type and of small models.

usage: .tandem/venv/bin/python -B crates/gguf/tests/reference/make-golden.py
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from gguf_import.directory import import_directory
from gguf_import.rope import llama3_divisors
from gguf_import_tests.model_files import ModelFile, sentencepiece_model
from gguf_import_tests.random_blocks import DEQUANTISED, random_rows

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"hidden": 16, "inner": 8, "layers": 1}


def main() -> None:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    (GOLDEN / "types").mkdir(parents=True)
    for kind in DEQUANTISED:
        # 768 values: three blocks of the largest types.
        rows = random_rows(np.random.default_rng(int(kind)), kind, 3, 256)
        values = gguf.quants.dequantize(rows, kind).astype("<f4")
        (GOLDEN / "types" / f"{kind.name}.bin").write_bytes(rows.tobytes() + values.tobytes())
    for name, model, dtype in models():
        folder = GOLDEN / "models" / name
        folder.mkdir(parents=True)
        import_directory(model.write(folder / "model.gguf"), folder / dtype, dtype)


def models() -> Iterator[tuple[str, ModelFile, str]]:
    """One model for each family, tokenizer and kind of rope scaling."""
    llama = ModelFile("llama", **SMALL)
    llama.metadata.update({"tokenizer.ggml.pre": "llama-bpe", "general.name": "Small \u2581", "general.tags": ["a", "b"]})
    llama.metadata.update({"rope.freq_base": 500000.0, "tokenizer.ggml.eot_token_id": 1})
    llama.tensors["rope_freqs.weight"] = llama3_divisors(500000.0, llama.head_dim, 8.0, 256).astype(np.float32)
    llama.tensors["blk.0.attn_q.bias"] = np.arange(16, dtype=np.float32)
    llama.tensors["blk.0.attn_v.weight"] = llama.tensors["blk.0.attn_v.weight"].astype(np.float16)
    yield "llama", llama, "f32"

    mistral = sentencepiece_model(**SMALL)
    mistral.metadata["attention.sliding_window"] = 128
    del mistral.tensors["output.weight"]
    yield "mistral", mistral, "bf16"

    qwen2 = ModelFile("qwen2", **SMALL)
    qwen2.metadata.update({"tokenizer.ggml.pre": "qwen2", "rope.scaling.type": "linear", "rope.scaling.factor": 2.5})
    yield "qwen2", qwen2, "f32"

    qwen3 = ModelFile("qwen3", head_dim=8, **SMALL)
    qwen3.metadata.update({"tokenizer.ggml.pre": "tekken", "attention.sliding_window": 64})
    yield "qwen3", qwen3, "bf16"


if __name__ == "__main__":
    main()
