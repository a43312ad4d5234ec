"""Small GGUF files: a whole model of any supported family, with any part replaced or left out."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from gguf_import.directory import import_directory
from gguf_import.source import Refused

IMPORT_GGUF = os.environ.get("IMPORT_GGUF", "import-gguf")
"""The program under test; scripts/test-import-gguf builds it."""

HIDDEN, INNER, HEADS, KV_HEADS, LAYERS = 64, 96, 4, 2, 2
VOCABULARY = 40
THETA = 10000.0

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class ModelFile:
    """What goes into one GGUF file; tests change `metadata` and `tensors` before `write`.

    Q and K are random, so in no particular row order; a test that cares puts its own there.
    """

    def __init__(
        self,
        architecture: str = "llama",
        head_dim: int | None = None,
        seed: int = 0,
        hidden: int = HIDDEN,
        inner: int = INNER,
        layers: int = LAYERS,
    ) -> None:
        self.architecture = architecture
        if head_dim is None:
            head_dim = hidden // HEADS
        self.head_dim = head_dim
        random = np.random.default_rng(seed)

        def matrix(*shape: int) -> np.ndarray:
            return random.normal(size=shape).astype(np.float32)

        queries, keys = HEADS * head_dim, KV_HEADS * head_dim
        self.tensors: dict[str, np.ndarray] = {"token_embd.weight": matrix(VOCABULARY, hidden)}
        self.raw: dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType]] = {}
        for layer in range(layers):
            block = f"blk.{layer}."
            self.tensors[block + "attn_norm.weight"] = matrix(hidden)
            self.tensors[block + "attn_q.weight"] = matrix(queries, hidden)
            self.tensors[block + "attn_k.weight"] = matrix(keys, hidden)
            self.tensors[block + "attn_v.weight"] = matrix(keys, hidden)
            self.tensors[block + "attn_output.weight"] = matrix(hidden, queries)
            if architecture == "qwen2":
                for part, rows in (("q", queries), ("k", keys), ("v", keys)):
                    self.tensors[f"{block}attn_{part}.bias"] = matrix(rows)
            if architecture == "qwen3":
                self.tensors[block + "attn_q_norm.weight"] = matrix(head_dim)
                self.tensors[block + "attn_k_norm.weight"] = matrix(head_dim)
            self.tensors[block + "ffn_norm.weight"] = matrix(hidden)
            self.tensors[block + "ffn_gate.weight"] = matrix(inner, hidden)
            self.tensors[block + "ffn_up.weight"] = matrix(inner, hidden)
            self.tensors[block + "ffn_down.weight"] = matrix(hidden, inner)
        self.tensors["output_norm.weight"] = matrix(hidden)
        self.tensors["output.weight"] = matrix(VOCABULARY, hidden)

        letters = [chr(ord("a") + i) for i in range(26)]
        tokens = ["<end>", "<begin>", "<tool>", *letters, "\u0120", "ab", "\u0120c"]
        types = [CONTROL, CONTROL, USER_DEFINED] + [NORMAL] * (len(tokens) - 3)
        while len(tokens) < VOCABULARY:
            tokens.append(f"[PAD{len(tokens)}]")
            types.append(UNUSED)
        self.metadata: dict[str, Any] = {
            "block_count": layers,
            "context_length": 512,
            "embedding_length": hidden,
            "feed_forward_length": inner,
            "attention.head_count": HEADS,
            "attention.head_count_kv": KV_HEADS,
            "attention.key_length": head_dim,
            "attention.value_length": head_dim,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.freq_base": THETA,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": ["a b", "\u0120 c"],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 0,
            "tokenizer.chat_template": "{{ messages }}",
        }

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, value in self.metadata.items():
            if value is None:
                continue
            name = key if key.startswith(("tokenizer.", "general.")) else f"{self.architecture}.{key}"
            if isinstance(value, bool):
                writer.add_bool(name, value)
            elif isinstance(value, int):
                writer.add_uint32(name, value)
            elif isinstance(value, float):
                writer.add_float32(name, value)
            elif isinstance(value, str):
                writer.add_string(name, value)
            else:
                writer.add_array(name, value)
        for name, values in self.tensors.items():
            writer.add_tensor(name, values)
        for name, (values, kind) in self.raw.items():
            writer.add_tensor(name, values, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def sentencepiece_model(**sizes: int) -> ModelFile:
    """A model with a SentencePiece vocabulary."""
    model = ModelFile("llama", **sizes)
    pieces = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0)]
    pieces += [(f"<0x{byte:02X}>", BYTE, 0.0) for byte in range(256)]
    # As sentencepiece numbers them: unions in the order they were learnt, then the letters.
    pieces += [("ab", NORMAL, -0.0), ("\u2581a", NORMAL, -1.0), ("abc", NORMAL, -2.0), ("bc", NORMAL, -3.0)]
    pieces += [(letter, NORMAL, -4.0 - i) for i, letter in enumerate("\u2581abc")]
    model.metadata.update(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": None,
            "tokenizer.ggml.merges": None,
            "tokenizer.ggml.tokens": [piece for piece, _, _ in pieces],
            "tokenizer.ggml.token_type": [kind for _, kind, _ in pieces],
            "tokenizer.ggml.scores": [score for _, _, score in pieces],
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.eos_token_id": 2,
        }
    )
    for name in ("token_embd.weight", "output.weight"):
        tensor = model.tensors[name]
        model.tensors[name] = tensor.repeat(-(-len(pieces) // VOCABULARY), axis=0)[: len(pieces)]
    return model


class ImportTest(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        self.fresh_folder()

    def fresh_folder(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def imported(self, model: ModelFile, dtype: str = "f32") -> Imported:
        """The directory that the program makes, after it has been found to be the reference's."""
        path = model.write(self.folder / "model.gguf")
        out, reference = self.folder / "out" / "model", self.folder / "reference" / "model"
        import_directory(path, reference, dtype)
        done = import_gguf(path, out, dtype)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_directory(out, reference)
        return Imported(out)

    def assert_same_directory(self, out: Path, reference: Path) -> None:
        self.assertEqual(sorted(entry.name for entry in out.iterdir()), sorted(entry.name for entry in reference.iterdir()))
        for entry in reference.iterdir():
            found = (out / entry.name).read_bytes()
            self.assertTrue(found == entry.read_bytes(), f"{entry.name} differs from the reference's")

    def assert_refused(self, model: ModelFile, *words: str) -> None:
        """Both imports fail with one message, which has all `words`, and nothing is left behind."""
        self.assert_file_refused(model.write(self.folder / "model.gguf"), *words)

    def assert_file_refused(self, path: Path, *words: str, same: bool = True) -> None:
        out = self.folder / "out" / "model"
        with self.assertRaises(Refused) as caught:
            import_directory(path, out, "f32")
        refused = import_gguf(path, out, "f32")
        self.assertEqual(refused.returncode, 1, refused.stderr)
        message = refused.stderr.splitlines()[-1].removeprefix("import-gguf: ")
        if same:
            self.assertEqual(message, str(caught.exception))
        for word in words:
            self.assertIn(word, message)
            self.assertIn(word, str(caught.exception))
        left = list(out.parent.iterdir()) if out.parent.exists() else []
        self.assertEqual(left, [])


def import_gguf(path: Path, out: Path, dtype: str = "f32") -> subprocess.CompletedProcess[str]:
    command = [IMPORT_GGUF, path, out, "--dtype", dtype]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


class Imported:
    """An imported directory, its safetensors file read by the format's definition alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        content = (directory / "model.safetensors").read_bytes()
        (self.header_size,) = struct.unpack("<Q", content[:8])
        self.header = json.loads(content[8 : 8 + self.header_size])
        self.data = content[8 + self.header_size :]

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.directory / name).read_text(encoding="utf-8"))

    @property
    def config(self) -> dict[str, Any]:
        return self.json("config.json")

    def names(self) -> set[str]:
        return set(self.header) - {"__metadata__"}

    def tensor(self, name: str) -> np.ndarray:
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            return np.frombuffer(self.data[begin:end], dtype="<f4").reshape(entry["shape"])
        patterns = np.frombuffer(self.data[begin:end], dtype="<u2").astype(np.uint32)
        return (patterns << 16).view(np.float32).reshape(entry["shape"])
