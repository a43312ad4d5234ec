from __future__ import annotations

import gguf
import numpy as np

from .model_files import ImportTest, ModelFile
from .random_blocks import DEQUANTISED, random_rows

WIDE = 256
"""Columns that every type's blocks fit."""


class Types(ImportTest):
    """Random blocks of every type that the reference dequantises, some of them in reordered rows."""

    def test_every_type(self) -> None:
        for kind in DEQUANTISED:
            for dtype in ("f32", "bf16"):
                with self.subTest(kind.name, dtype=dtype):
                    self.fresh_folder()
                    model = ModelFile("llama", hidden=WIDE, inner=WIDE, layers=1)
                    random = np.random.default_rng(int(kind))
                    for name in ("token_embd", "blk.0.attn_q", "blk.0.ffn_down"):
                        rows = len(model.tensors.pop(f"{name}.weight"))
                        model.raw[f"{name}.weight"] = (random_rows(random, kind, rows, WIDE), kind)
                    self.imported(model, dtype)

    def test_types_without_a_rule_are_named(self) -> None:
        rest = [kind for kind in gguf.GGMLQuantizationType if kind not in DEQUANTISED]
        self.assertIn(gguf.GGMLQuantizationType.Q8_K, rest)
        for kind in rest:
            with self.subTest(kind.name):
                self.fresh_folder()
                model = ModelFile("llama", hidden=WIDE, inner=WIDE, layers=1)
                del model.tensors["blk.0.ffn_down.weight"]
                values, size = gguf.GGML_QUANT_SIZES[kind]
                model.raw["blk.0.ffn_down.weight"] = (np.zeros((WIDE, WIDE // values * size), dtype=np.uint8), kind)
                self.assert_refused(model, "blk.0.ffn_down.weight", kind.name)
