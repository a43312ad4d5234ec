"""GGUF metadata read into config.json, in the form that transformers 4 writes."""

from __future__ import annotations

from typing import Any

from .rope import decimal, rope_fields
from .source import Refused, Source

# What Mistral's GGUF files call themselves is "llama": to GGUF the two are one.
_CLASSES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
}

# Metadata that changes the arithmetic in ways these architectures do not have.
_FOREIGN = (
    "expert_count",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attn_logit_softcapping",
    "final_logit_softcapping",
)


def read_config(source: Source, dtype: str) -> dict[str, Any]:
    """config.json as a dictionary; refuses by name what the architecture cannot express."""
    if source.architecture not in _CLASSES:
        raise Refused(f"architecture {source.architecture}: not supported ({', '.join(_CLASSES)} are)")
    for key in _FOREIGN:
        value = source.of_architecture(key, None)
        if value not in (None, 0, 0.0, False):
            raise Refused(f"{source.architecture}.{key} is {value}: not supported")
    if source.of_architecture("attention.causal", True) is not True:
        raise Refused(f"{source.architecture}.attention.causal is false: not supported")

    model_type, class_name = _CLASSES[source.architecture]
    hidden = source.of_architecture("embedding_length", kind=int)
    heads = _one(source, "attention.head_count")
    kv_heads = _one(source, "attention.head_count_kv", heads)
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise Refused(f"{heads} attention heads cannot share {kv_heads} key/value heads")
    head_dim = source.of_architecture("attention.key_length", None, int)
    if head_dim is None:
        if hidden % heads:
            raise Refused(f"embedding_length {hidden} is no multiple of {heads} heads and there is no attention.key_length")
        head_dim = hidden // heads
    if source.of_architecture("attention.value_length", head_dim, int) != head_dim:
        raise Refused("attention.value_length differs from attention.key_length: not supported")
    if head_dim < 2 or head_dim % 2:
        raise Refused(f"head_dim {head_dim} cannot be rotated in pairs")

    tensors = source.tensors
    if "token_embd.weight" not in tensors:
        raise Refused(f"{source.path}: tensor token_embd.weight is missing")
    context = source.of_architecture("context_length", kind=int)
    window = source.of_architecture("attention.sliding_window", None, int)
    if window == 0:
        window = None

    config: dict[str, Any] = {
        "architectures": [class_name],
        "attention_dropout": 0.0,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": _one(source, "feed_forward_length"),
        "max_position_embeddings": context,
        "model_type": model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": source.of_architecture("block_count", kind=int),
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": decimal(source.of_architecture("attention.layer_norm_rms_epsilon", kind=float)),
        **rope_fields(source, head_dim),
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": {"f32": "float32", "bf16": "bfloat16"}[dtype],
        "use_cache": True,
        "vocab_size": int(tensors["token_embd.weight"].shape[-1]),
    }
    for key in ("bos", "eos", "padding"):
        token = source.get(f"tokenizer.ggml.{key}_token_id", None, int)
        config["pad_token_id" if key == "padding" else f"{key}_token_id"] = token

    has_biases = any(name.startswith("blk.") and name.endswith(".bias") for name in tensors)
    if model_type == "llama" and window is not None:
        if has_biases:
            raise Refused(f"a sliding window of {window} together with biases: not supported")
        config.update(architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=window)
    elif model_type == "llama":
        config["attention_bias"] = any(".attn_" in name and name.endswith(".bias") for name in tensors)
        config["mlp_bias"] = any(".ffn_" in name and name.endswith(".bias") for name in tensors)
    else:
        if window is not None:
            config.update(use_sliding_window=True, sliding_window=window, max_window_layers=0)
        else:
            config.update(use_sliding_window=False, sliding_window=None)
        if model_type == "qwen3":
            config["attention_bias"] = any(".attn_" in name and name.endswith(".bias") for name in tensors)
    return config


def _one(source: Source, key: str, default: Any = None) -> int:
    """A number that GGUF may also store as a list with one entry a layer."""
    value = source.of_architecture(key) if default is None else source.of_architecture(key, default)
    values = set(value) if isinstance(value, list) else {value}
    if len(values) != 1:
        raise Refused(f"{source.architecture}.{key} differs from layer to layer: not supported")
    number = values.pop()
    if not isinstance(number, int) or isinstance(number, bool):
        raise Refused(f"{source.architecture}.{key} is {number!r}, expected int")
    return number
