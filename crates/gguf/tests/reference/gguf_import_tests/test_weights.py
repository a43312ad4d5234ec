from __future__ import annotations

import struct

import gguf
import numpy as np

from .model_files import HEADS, HIDDEN, INNER, KV_HEADS, LAYERS, VOCABULARY, ImportTest, ModelFile

ATTENTION = "model.layers.1.self_attn."


def as_llama_cpp_stores(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's reordering, a row at a time: element j of a head's first half, then its partner."""
    head_dim = len(rows) // heads
    stored = np.empty_like(rows)
    for head in range(heads):
        for j in range(head_dim // 2):
            stored[head * head_dim + 2 * j] = rows[head * head_dim + j]
            stored[head * head_dim + 2 * j + 1] = rows[head * head_dim + head_dim // 2 + j]
    return stored


class QueryAndKeyRows(ImportTest):
    def reordered(self, sliding_window: int | None) -> None:
        model = ModelFile("llama")
        model.metadata["attention.sliding_window"] = sliding_window
        queries, keys = model.tensors["blk.1.attn_q.weight"], model.tensors["blk.1.attn_k.weight"]
        model.tensors["blk.1.attn_q.weight"] = as_llama_cpp_stores(queries, HEADS)
        model.tensors["blk.1.attn_k.weight"] = as_llama_cpp_stores(keys, KV_HEADS)
        imported = self.imported(model)
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "q_proj.weight"), queries)
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "k_proj.weight"), keys)
        values = model.tensors["blk.1.attn_v.weight"]
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "v_proj.weight"), values)

    def test_llama_is_put_back_in_order(self) -> None:
        self.reordered(None)

    def test_mistral_is_put_back_in_order(self) -> None:
        self.reordered(128)

    def test_biases_of_llama_are_put_back_in_order(self) -> None:
        model = ModelFile("llama")
        bias = np.arange(HIDDEN, dtype=np.float32)
        for layer in range(LAYERS):
            model.tensors[f"blk.{layer}.attn_q.bias"] = as_llama_cpp_stores(bias, HEADS)
        imported = self.imported(model)
        self.assertIs(imported.config["attention_bias"], True)
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "q_proj.bias"), bias)
        # transformers expects all four once there is one; those the file leaves out are zero.
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "o_proj.bias"), np.zeros(HIDDEN))

    def test_pieces_of_rows_are_put_back_in_order(self) -> None:
        # The program takes 2^18 values at once: 512 rows of 768 end within a row of Q.
        for dtype in ("f32", "bf16"):
            self.fresh_folder()
            model = ModelFile("llama", hidden=768, inner=32, layers=1)
            queries = model.tensors["blk.0.attn_q.weight"]
            model.tensors["blk.0.attn_q.weight"] = as_llama_cpp_stores(queries, HEADS)
            imported = self.imported(model, dtype)
            if dtype == "f32":
                np.testing.assert_array_equal(imported.tensor("model.layers.0.self_attn.q_proj.weight"), queries)

    def test_qwen_is_left_in_order(self) -> None:
        for architecture in ("qwen2", "qwen3"):
            with self.subTest(architecture):
                self.fresh_folder()
                model = ModelFile(architecture)
                imported = self.imported(model)
                for part in ("q", "k"):
                    stored = model.tensors[f"blk.1.attn_{part}.weight"]
                    np.testing.assert_array_equal(imported.tensor(f"{ATTENTION}{part}_proj.weight"), stored)

    def test_qwen2_keeps_its_biases_and_qwen3_its_norms(self) -> None:
        model = ModelFile("qwen2")
        imported = self.imported(model)
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "k_proj.bias"), model.tensors["blk.1.attn_k.bias"])
        self.assertNotIn(ATTENTION + "o_proj.bias", imported.names())
        self.fresh_folder()
        model = ModelFile("qwen3", head_dim=32)
        imported = self.imported(model)
        self.assertEqual(imported.config["head_dim"], 32)
        np.testing.assert_array_equal(imported.tensor(ATTENTION + "q_norm.weight"), model.tensors["blk.1.attn_q_norm.weight"])


class Quantised(ImportTest):
    """Blocks packed here byte by byte, and values worked out from the formats' definitions."""

    def test_q8_0(self) -> None:
        # A block: a 16-bit scale, then 32 signed bytes; value = scale * byte.
        columns, blocks = INNER, INNER // 32
        rows, expected = [], []
        for row in range(HIDDEN):
            packed, values = b"", []
            for block in range(blocks):
                scale = 0.25 * (1 + block)
                numbers = [(row * 7 + block * 5 + i * 3) % 255 - 127 for i in range(32)]
                packed += struct.pack("<e32b", scale, *numbers)
                values += [scale * number for number in numbers]
            rows.append(np.frombuffer(packed, dtype=np.uint8))
            expected.append(values)
        model = ModelFile("llama")
        del model.tensors["blk.0.ffn_down.weight"]
        model.raw["blk.0.ffn_down.weight"] = (np.stack(rows), gguf.GGMLQuantizationType.Q8_0)
        found = self.imported(model).tensor("model.layers.0.mlp.down_proj.weight")
        np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32).reshape(HIDDEN, columns))

    def test_q4_0_of_a_reordered_query(self) -> None:
        # A block: a 16-bit scale, then 16 bytes; byte i holds value i low and value i + 16 high; value = scale * (q - 8).
        rows, values = [], np.empty((HIDDEN, HIDDEN), dtype=np.float32)
        for row in range(HIDDEN):
            packed = b""
            for block in range(HIDDEN // 32):
                scale = 2.0 ** -(1 + row % 4)
                numbers = [(row + 3 * i + 5 * block) % 16 for i in range(32)]
                packed += struct.pack("<e", scale) + bytes(numbers[i] | numbers[i + 16] << 4 for i in range(16))
                values[row, 32 * block : 32 * block + 32] = [scale * (number - 8) for number in numbers]
            rows.append(np.frombuffer(packed, dtype=np.uint8))
        model = ModelFile("llama")
        del model.tensors["blk.1.attn_q.weight"]
        stored = as_llama_cpp_stores(np.stack(rows), HEADS)
        model.raw["blk.1.attn_q.weight"] = (stored, gguf.GGMLQuantizationType.Q4_0)
        np.testing.assert_array_equal(self.imported(model).tensor(ATTENTION + "q_proj.weight"), values)

    def test_a_type_the_library_cannot_dequantise_is_named(self) -> None:
        model = ModelFile("llama")
        model.tensors["blk.0.ffn_norm.weight"] = np.ones(HIDDEN, dtype=np.int32)
        self.assert_refused(model, "blk.0.ffn_norm.weight", "I32")


class SafetensorsFile(ImportTest):
    def test_the_file_is_laid_out_as_the_format_says(self) -> None:
        imported = self.imported(ModelFile("llama"))
        self.assertEqual((8 + imported.header_size) % 8, 0)
        spans = sorted(imported.header[name]["data_offsets"] for name in imported.names())
        self.assertEqual(spans[0][0], 0)
        for before, after in zip(spans, spans[1:]):
            self.assertEqual(before[1], after[0])
        self.assertEqual(spans[-1][1], len(imported.data))
        self.assertEqual(imported.tensor("model.embed_tokens.weight").shape, (VOCABULARY, HIDDEN))

    def test_bf16_is_written_and_declared(self) -> None:
        model = ModelFile("llama")
        imported = self.imported(model, "bf16")
        self.assertEqual(imported.config["torch_dtype"], "bfloat16")
        norm = model.tensors["output_norm.weight"]
        np.testing.assert_allclose(imported.tensor("model.norm.weight"), norm, rtol=2.0**-8)

    def test_a_head_that_is_absent_is_tied(self) -> None:
        model = ModelFile("llama")
        del model.tensors["output.weight"]
        imported = self.imported(model)
        self.assertIs(imported.config["tie_word_embeddings"], True)
        self.assertNotIn("lm_head.weight", imported.names())


class RefusedTensors(ImportTest):
    def test_missing(self) -> None:
        model = ModelFile("llama")
        del model.tensors["blk.1.ffn_up.weight"]
        self.assert_refused(model, "blk.1.ffn_up.weight", "missing", f"[{INNER}, {HIDDEN}]")

    def test_misshapen(self) -> None:
        model = ModelFile("llama")
        model.tensors["blk.1.ffn_up.weight"] = np.ones((INNER, HIDDEN + 1), dtype=np.float32)
        self.assert_refused(model, "blk.1.ffn_up.weight", f"expected shape [{INNER}, {HIDDEN}]", f"found [{INNER}, {HIDDEN + 1}]")

    def test_without_a_place(self) -> None:
        model = ModelFile("llama")
        model.tensors["blk.0.attn_sinks.weight"] = np.ones(HEADS, dtype=np.float32)
        self.assert_refused(model, "blk.0.attn_sinks.weight", "LlamaForCausalLM")

    def test_not_finite(self) -> None:
        model = ModelFile("llama")
        model.tensors["blk.0.ffn_gate.weight"][3, 5] = np.nan
        self.assert_refused(model, "blk.0.ffn_gate.weight", "not finite")
