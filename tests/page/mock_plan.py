"""A plan such as the edge serves it at /tandem/plan, computed from a few figures of an imagined pair."""

from __future__ import annotations

LAYERS, HIDDEN, CONTEXT = 30, 576, 2048
SPLIT = 10
ROUND_TRIP, UP, DOWN = 0.040, 1_250_000, 2_500_000
EDGE_LAYER, CLOUD_LAYER, HEAD = 0.0016, 0.00042, 0.0012
ENCODE, DECODE = 0.0004, 0.0002
ROW_BYTES = 395
MIB = 1 << 20


def row(split: int) -> dict:
    """The best plan with `split` layers on the edge."""
    cloud = (LAYERS - split) * CLOUD_LAYER + HEAD + (DECODE if split else 0)
    token = ROUND_TRIP + 0.0012 + cloud + (split * EDGE_LAYER + ENCODE + ROW_BYTES / UP if split else 0)
    first = token + 64 * (split * EDGE_LAYER / 9 + (ROW_BYTES / UP if split else 0))
    return {
        "split": split,
        "weights": "int8" if split else None,
        "kv": "int8" if split else None,
        "codec": "high" if split else None,
        "context": CONTEXT,
        "memory_bytes": (46 + split * 9) * MIB,
        "first_token_seconds": first,
        "token_seconds": token,
        "late_first_token_seconds": first * 1.3,
        "late_token_seconds": token * 1.25,
        "request_seconds": first + 127 * token,
        "cloud_seconds_per_token": cloud * 1.08,
        "cloud_seconds_per_token_now": cloud * 0.9,
        "devices": int(4 + split * 0.5),
        "cloud_seconds_per_token_shared": cloud * 0.45,
        "shared_token_seconds": token * 2,
        "up_bytes_per_token": ROW_BYTES if split else 12,
        "kl": split * 4e-5 + (2e-4 if split else 0),
        "kl_is_bound": False,
    }


def plan() -> dict:
    """The document, with one limit that binds."""
    by_split = [row(split) for split in range(15)]
    chosen = by_split[SPLIT]
    return {
        "chosen": chosen,
        "binding": [{"constraint": "memory", "without": row(14)}],
        "shortfalls": [],
        "advice": None,
        "by_split": by_split,
        "front": by_split,
        "edge_only": {
            "weights": "int8",
            "memory_bytes": 316 * MIB,
            "token_seconds": LAYERS * EDGE_LAYER,
            "request_seconds": 128 * LAYERS * EDGE_LAYER,
            "kl": 1.2e-3,
            "kl_is_bound": False,
            "fits": False,
        },
        "objective": "balanced",
        "slowdown": 1.25,
        "fastest_token_seconds": by_split[0]["token_seconds"],
        "constraints": {
            "memory": 140 * MIB,
            "token_deadline": 0.12,
            "first_token": None,
            "min_context": CONTEXT,
            "max_kl": 0.05,
            "outage": 0.1,
        },
        "workload": {
            "prompt_tokens": 64,
            "output_tokens": 128,
            "sessions": 4,
            "chunk_rows": 64,
            "frame_bytes": 16384,
        },
        "link": {"round_trip": ROUND_TRIP, "up": UP, "down": DOWN},
        "outage_link": {"round_trip": ROUND_TRIP * 1.4, "up": UP * 0.6, "down": DOWN * 0.6},
        "breakdown": breakdown(chosen["token_seconds"]),
        "considered": 11_340,
        "took": {"measuring_seconds": 52.1, "planning_seconds": 0.21},
        "layers": LAYERS,
    }


def plan_without_answer() -> dict:
    """The document when no candidate holds the limits."""
    limits = {"memory": 30 * MIB, "token_deadline": 0.02}
    document = plan()
    document["constraints"].update(limits)
    document.update(
        chosen=None,
        binding=[],
        by_split=[],
        front=[],
        breakdown=None,
        fastest_token_seconds=None,
        shortfalls=[
            {"constraint": "memory", "limit": 30 * MIB, "nearest": 46 * MIB, "alone": 46 * MIB},
            {"constraint": "token-deadline", "limit": 0.02, "nearest": 0.055, "alone": 0.055},
        ],
    )
    document["link"]["up"] = None
    return document


def breakdown(token_seconds: float) -> dict:
    terms = {
        "edge_fixed": 0.0008,
        "edge_layers": SPLIT * EDGE_LAYER * 0.9,
        "edge_attention": SPLIT * EDGE_LAYER * 0.1,
        "encode": ENCODE,
        "up": ROW_BYTES / UP,
        "round_trip": ROUND_TRIP,
        "queue": 0.0,
        "decode": DECODE,
        "cloud_fixed": 0.0004,
        "cloud_layers": (LAYERS - SPLIT) * CLOUD_LAYER * 0.92,
        "cloud_attention": (LAYERS - SPLIT) * CLOUD_LAYER * 0.08,
        "head": HEAD,
    }
    terms["down"] = token_seconds - sum(terms.values())
    return {
        "token_seconds": terms,
        "memory_bytes": {"base": 44 * MIB, "chunk": 2 * MIB, "weights": 36 * MIB, "kv": 54 * MIB},
        "kl": {"weights": 3.2e-4, "kv": 8e-5, "codec": 2e-4},
    }
