from __future__ import annotations

import math

import numpy as np

from gguf_import.directory import import_directory
from gguf_import.source import Refused

from .model_files import HIDDEN, INNER, LAYERS, VOCABULARY, ImportTest, ModelFile, import_gguf


class Config(ImportTest):
    def test_llama(self) -> None:
        config = self.imported(ModelFile("llama")).config
        expected = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "torch_dtype": "float32",
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 512,
            "bos_token_id": 1,
            "eos_token_id": 0,
        }
        self.assertEqual({key: config.get(key) for key in expected}, expected)

    def test_a_window_makes_llama_mistral(self) -> None:
        model = ModelFile("llama")
        model.metadata["attention.sliding_window"] = 128
        config = self.imported(model).config
        self.assertEqual((config["model_type"], config["sliding_window"]), ("mistral", 128))
        self.assertEqual(config["architectures"], ["MistralForCausalLM"])

    def test_qwen(self) -> None:
        for architecture, name in (("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")):
            with self.subTest(architecture):
                self.fresh_folder()
                config = self.imported(ModelFile(architecture)).config
                self.assertEqual((config["model_type"], config["architectures"]), (architecture, [name]))
                self.assertIs(config["use_sliding_window"], False)

    def test_heads_given_layer_by_layer(self) -> None:
        model = ModelFile("llama")
        model.metadata["attention.head_count_kv"] = [2, 2]
        self.assertEqual(self.imported(model).config["num_key_value_heads"], 2)
        self.fresh_folder()
        model.metadata["attention.head_count_kv"] = [2, 1]
        self.assert_refused(model, "attention.head_count_kv", "layer to layer")

    def test_numbers_are_written_by_their_shortest_decimal(self) -> None:
        # The third is halfway between .12 and .13, of which Python takes the even one.
        for theta, expected in ((1e6, 1e6), (0.1, 0.1), (343126.125, 343126.12), (1e16, 1e16), (1e-7, 1e-7)):
            with self.subTest(theta):
                self.fresh_folder()
                model = ModelFile("llama")
                model.metadata["rope.freq_base"] = theta
                self.assertEqual(self.imported(model).config["rope_theta"], expected)

    def test_an_unknown_architecture_is_named(self) -> None:
        self.assert_refused(ModelFile("gemma3"), "architecture gemma3")

    def test_experts_are_named(self) -> None:
        model = ModelFile("llama")
        model.metadata["expert_count"] = 8
        self.assert_refused(model, "llama.expert_count", "8")

    def test_a_missing_key_is_named(self) -> None:
        model = ModelFile("llama")
        model.metadata["context_length"] = None
        self.assert_refused(model, "llama.context_length")


class Rope(ImportTest):
    head_dim = 64

    def llama3(self, factor: float, original: int) -> ModelFile:
        """A file with the divisors that Llama 3.1's published rule gives, worked out branch by branch."""
        model = ModelFile("llama", head_dim=self.head_dim)
        model.metadata["rope.freq_base"] = 500000.0
        divisors = []
        for pair in range(self.head_dim // 2):
            wavelength = 2 * math.pi * 500000.0 ** (2 * pair / self.head_dim)
            if wavelength < original / 4.0:
                divisors.append(1.0)
            elif wavelength > original / 1.0:
                divisors.append(factor)
            else:
                smooth = (original / wavelength - 1.0) / (4.0 - 1.0)
                divisors.append(1.0 / ((1.0 - smooth) / factor + smooth))
        model.tensors["rope_freqs.weight"] = np.array(divisors, dtype=np.float32)
        return model

    def test_llama3_is_recovered_from_its_divisors(self) -> None:
        for factor, original in ((8.0, 8192), (32.0, 8192), (4.0, 256)):
            with self.subTest(factor=factor, original=original):
                self.fresh_folder()
                scaling = self.imported(self.llama3(factor, original)).config["rope_scaling"]
                self.assertEqual(scaling["rope_type"], "llama3")
                self.assertEqual((scaling["factor"], scaling["original_max_position_embeddings"]), (factor, original))
                self.assertEqual((scaling["low_freq_factor"], scaling["high_freq_factor"]), (1.0, 4.0))

    def test_divisors_of_another_rule_are_refused(self) -> None:
        model = self.llama3(32.0, 8192)
        model.tensors["rope_freqs.weight"][13] *= 1.01
        self.assert_refused(model, "rope_freqs.weight", "llama3")

    def test_linear(self) -> None:
        model = ModelFile("llama")
        model.metadata.update({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0})
        self.assertEqual(self.imported(model).config["rope_scaling"]["factor"], 4.0)
        self.assertEqual(self.imported_type(model), "linear")

    def imported_type(self, model: ModelFile) -> str:
        self.fresh_folder()
        return self.imported(model).config["rope_scaling"]["rope_type"]

    def test_other_rope_types_are_named(self) -> None:
        for kind in ("yarn", "longrope", "dynamic"):
            with self.subTest(kind):
                self.fresh_folder()
                model = ModelFile("llama")
                model.metadata.update({"rope.scaling.type": kind, "rope.scaling.factor": 4.0})
                self.assert_refused(model, f"rope type {kind}")
        self.fresh_folder()
        model = ModelFile("llama")
        model.tensors["rope_factors_long.weight"] = np.ones(8, dtype=np.float32)
        self.assert_refused(model, "longrope", "rope_factors_long.weight")

    def test_a_partial_rotation_is_refused(self) -> None:
        model = ModelFile("llama")
        model.metadata["rope.dimension_count"] = 8
        self.assert_refused(model, "rope.dimension_count 8", "head_dim 16")


class Files(ImportTest):
    def test_a_truncated_file_is_refused_by_name(self) -> None:
        path = ModelFile("llama").write(self.folder / "model.gguf")
        whole = path.read_bytes()
        for size in (0, 3, 100, 900, len(whole) - 5000):
            with self.subTest(size=size):
                path.write_bytes(whole[:size])
                # What is wrong inside is each reader's own to say.
                self.assert_file_refused(path, "model.gguf: not a whole GGUF file", same=False)

    def test_a_file_that_is_no_gguf_is_refused(self) -> None:
        path = self.folder / "model.gguf"
        path.write_bytes(b"PK\x03\x04" + bytes(4096))
        self.assert_file_refused(path, "model.gguf: not a whole GGUF file", same=False)
        self.assert_file_refused(self.folder / "absent.gguf", "absent.gguf: no such file")

    def test_an_existing_directory_is_left_alone(self) -> None:
        path = ModelFile("llama").write(self.folder / "model.gguf")
        out = self.folder / "out"
        out.mkdir()
        (out / "mine").write_text("mine")
        refused = import_gguf(path, out)
        with self.assertRaises(Refused) as caught:
            import_directory(path, out, "f32")
        self.assertEqual((refused.returncode, refused.stderr), (1, f"import-gguf: {caught.exception}\n"))
        self.assertEqual([entry.name for entry in out.iterdir()], ["mine"])

    def test_a_part_of_a_split_model_lacks_the_other_parts_tensors(self) -> None:
        model = ModelFile("llama")
        model.metadata["split.count"] = 2
        for name in [name for name in model.tensors if name.startswith("blk.1.")]:
            del model.tensors[name]
        self.assert_refused(model, "blk.1.attn_norm.weight", "missing")
