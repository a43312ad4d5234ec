"""SentencePiece BPE (GGUF's tokenizer model "llama": Llama 2, TinyLlama, Mistral 7B).

GGUF keeps no merges for these but a score for each piece: the pair whose union scores highest
is merged first. Listing every pair that forms a piece, best union first, gives the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .source import Refused

if TYPE_CHECKING:
    from .vocabulary import Vocabulary

_SPACE = "\u2581"
_NORMAL, _UNKNOWN, _BYTE = 1, 2, 6


def sentencepiece_tokenizer(vocabulary: Vocabulary) -> tuple[dict[str, Any], bool]:
    """tokenizer.json without its post-processor, and whether a BOS goes first by default."""
    source = vocabulary.source
    scores = source.get("tokenizer.ggml.scores", kind=list)
    if len(scores) != len(vocabulary.tokens):
        raise Refused(f"tokenizer.ggml.scores has {len(scores)} entries for {len(vocabulary.tokens)} tokens")
    if vocabulary.types.count(_BYTE) != 256:
        raise Refused(f"a SentencePiece vocabulary with {vocabulary.types.count(_BYTE)} of 256 byte tokens: not supported")
    if source.get("tokenizer.ggml.remove_extra_whitespaces", False, bool):
        raise Refused("tokenizer.ggml.remove_extra_whitespaces is true: not supported")
    if source.get("tokenizer.ggml.precompiled_charsmap", None) is not None:
        raise Refused("tokenizer.ggml.precompiled_charsmap: normalising SentencePiece models are not supported")
    prefix = source.get("tokenizer.ggml.add_space_prefix", True, bool)
    unknown = [token for i, token in enumerate(vocabulary.tokens) if vocabulary.types[i] == _UNKNOWN]

    to_pieces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    to_text = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": _SPACE}, to_pieces]}
        to_text.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    else:
        normalizer = to_pieces
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        "normalizer": normalizer,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": to_text},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown[0] if unknown else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary.ids,
            "merges": _merges(vocabulary, scores),
        },
    }
    return tokenizer, True


def _merges(vocabulary: Vocabulary, scores: list[float]) -> list[str]:
    pieces = {token: i for token, i in vocabulary.ids.items() if vocabulary.types[i] == _NORMAL}
    ranked = []
    for token, i in pieces.items():
        for cut in range(1, len(token)):
            left, right = pieces.get(token[:cut]), pieces.get(token[cut:])
            if left is not None and right is not None:
                ranked.append((-scores[i], i, left, right))
    ranked.sort()
    return [f"{vocabulary.tokens[left]} {vocabulary.tokens[right]}" for _, _, left, right in ranked]
