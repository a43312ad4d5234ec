"""Byte-level BPE (GGUF's tokenizer model "gpt2"): one recipe for each known pre-tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .source import Refused

if TYPE_CHECKING:
    from .vocabulary import Vocabulary

# The splitting expressions, as the models' own tokenizer.json files publish them.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Recipe:
    """How one family splits text before BPE, and what else differs between the families."""

    split: str | None = None
    """The splitting expression; None for GPT-2's own, which ByteLevel brings."""
    digits: bool = False
    nfc: bool = False
    whole_words_first: bool = False
    """A piece that is a token as it stands is taken whole, whatever the merges say."""
    adds_bos: bool = False
    """What a file means that does not say `add_bos_token`."""


_LLAMA3_RECIPE = Recipe(split=_LLAMA3, whole_words_first=True, adds_bos=True)
RECIPES = {
    "gpt-2": Recipe(),
    "smollm": Recipe(digits=True),
    "llama3": _LLAMA3_RECIPE,
    "llama-v3": _LLAMA3_RECIPE,
    "llama-bpe": _LLAMA3_RECIPE,
    "qwen2": Recipe(split=_QWEN2, nfc=True),
    "tekken": Recipe(split=_TEKKEN, whole_words_first=True, adds_bos=True),
}


def byte_level_tokenizer(vocabulary: Vocabulary) -> tuple[dict[str, Any], bool]:
    """tokenizer.json without its post-processor, and whether a BOS goes first by default."""
    name = vocabulary.source.get("tokenizer.ggml.pre", None, str)
    if name is None:
        raise Refused(f"{vocabulary.source.path}: the metadata has no tokenizer.ggml.pre, so how text is split is unknown")
    if name not in RECIPES:
        raise Refused(f"pre-tokenizer {name}: not supported ({', '.join(RECIPES)} are)")
    recipe = RECIPES[name]
    if vocabulary.source.get("tokenizer.ggml.add_space_prefix", False, bool):
        raise Refused(f"pre-tokenizer {name} with add_space_prefix: not supported")

    merges = vocabulary.source.get("tokenizer.ggml.merges", kind=list)
    for merge in merges:
        left, _, right = merge.partition(" ")
        for part in (left, right, left + right):
            if part not in vocabulary.ids:
                raise Refused(f"tokenizer.ggml.merges: {merge!r} speaks of {part!r}, which is no token")

    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        "normalizer": {"type": "NFC"} if recipe.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _split_steps(recipe)},
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": recipe.whole_words_first,
            "vocab": vocabulary.ids,
            "merges": merges,
        },
    }
    return tokenizer, recipe.adds_bos


def _split_steps(recipe: Recipe) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if recipe.digits:
        steps.append({"type": "Digits", "individual_digits": True})
    if recipe.split is not None:
        steps.append({"type": "Split", "pattern": {"Regex": recipe.split}, "behavior": "Isolated", "invert": False})
    steps.append(_byte_level(use_regex=recipe.split is None))
    return steps


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
