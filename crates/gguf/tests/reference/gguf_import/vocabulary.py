"""tokenizer.json and its companions, rebuilt from GGUF's vocabulary."""

from __future__ import annotations

from typing import Any

from .byte_level import byte_level_tokenizer
from .sentencepiece import sentencepiece_tokenizer
from .source import Refused, Source

# GGUF's token types: gguf.TokenType.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Control tokens that end a turn or a text wherever they occur: llama.cpp's list for these families.
_ENDS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>")


class Vocabulary:
    """GGUF's tokens with their types and the ids that have a role."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.model: str = source.get("tokenizer.ggml.model", kind=str)
        self.tokens: list[str] = source.get("tokenizer.ggml.tokens", kind=list)
        self.types: list[int] = source.get("tokenizer.ggml.token_type", [NORMAL] * len(self.tokens), list)
        if len(self.types) != len(self.tokens):
            raise Refused(f"tokenizer.ggml.token_type has {len(self.types)} entries for {len(self.tokens)} tokens")
        rows = int(source.tensors["token_embd.weight"].shape[-1])
        if len(self.tokens) > rows:
            raise Refused(f"tokenizer.ggml.tokens has {len(self.tokens)} entries, token_embd.weight only {rows} rows")
        # Fillers for rows that the original tokenizer has no token for are UNUSED; they stay out.
        self.ids = {token: i for i, token in enumerate(self.tokens) if self.types[i] != UNUSED}
        if len(self.ids) != sum(kind != UNUSED for kind in self.types):
            raise Refused("tokenizer.ggml.tokens holds a token twice")
        self.bos = self._role("bos")
        self.eos = self._role("eos")
        self.unknown = self._role("unknown")
        self.padding = self._role("padding")

    def _role(self, role: str) -> int | None:
        token = self.source.get(f"tokenizer.ggml.{role}_token_id", None, int)
        if token is not None and not 0 <= token < len(self.tokens):
            raise Refused(f"tokenizer.ggml.{role}_token_id is {token}, but there are {len(self.tokens)} tokens")
        return token

    def added(self) -> list[dict[str, Any]]:
        """The tokens that are matched whole, before the text is split."""
        return [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": self.types[i] != USER_DEFINED,
            }
            for i, token in enumerate(self.tokens)
            if self.types[i] in (UNKNOWN, CONTROL, USER_DEFINED)
        ]

    def ends(self) -> list[int]:
        """The ids that end a generation, the declared one first."""
        declared = [self.eos, self._role("eot"), self._role("eom")]
        by_name = [self.ids.get(name) for name in _ENDS]
        by_name = [i for i in by_name if i is not None and self.types[i] == CONTROL]
        return list(dict.fromkeys(i for i in declared + by_name if i is not None))


def read_tokenizer(source: Source) -> dict[str, dict[str, Any]]:
    """The tokenizer's files by name: tokenizer.json, tokenizer_config.json, generation_config.json."""
    vocabulary = Vocabulary(source)
    if vocabulary.model == "gpt2":
        tokenizer, adds_bos = byte_level_tokenizer(vocabulary)
    elif vocabulary.model == "llama":
        tokenizer, adds_bos = sentencepiece_tokenizer(vocabulary)
    else:
        raise Refused(f"tokenizer model {vocabulary.model}: not supported (gpt2 and llama are)")
    adds_bos = source.get("tokenizer.ggml.add_bos_token", adds_bos, bool) and vocabulary.bos is not None
    adds_eos = source.get("tokenizer.ggml.add_eos_token", False, bool)
    if adds_eos:
        raise Refused("tokenizer.ggml.add_eos_token is true: a tokenizer that ends every prompt is not supported")
    if adds_bos:
        tokenizer["post_processor"] = _prepend(vocabulary.tokens[vocabulary.bos], vocabulary.bos)

    def named(token: int | None) -> str | None:
        return None if token is None else vocabulary.tokens[token]

    config: dict[str, Any] = {
        "add_bos_token": adds_bos,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in vocabulary.added()
        },
        "bos_token": named(vocabulary.bos),
        "clean_up_tokenization_spaces": False,
        "eos_token": named(vocabulary.eos),
        "model_max_length": source.of_architecture("context_length", kind=int),
        "pad_token": named(vocabulary.padding),
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": named(vocabulary.unknown),
    }
    template = source.get("tokenizer.chat_template", None, str)
    if template is not None:
        config["chat_template"] = template

    ends = vocabulary.ends()
    generation: dict[str, Any] = {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
        "pad_token_id": vocabulary.padding,
    }
    generation = {key: value for key, value in generation.items() if value not in (None, [])}
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config, "generation_config.json": generation}


def _prepend(token: str, token_id: int) -> dict[str, Any]:
    """A post-processor that puts one special token before every text."""
    special, first, second = ({"SpecialToken": {"id": token, "type_id": 0}}, _sequence("A", 0), _sequence("B", 1))
    return {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, {"SpecialToken": {"id": token, "type_id": 1}}, second],
        "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
    }


def _sequence(name: str, type_id: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": type_id}}
