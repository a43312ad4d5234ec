#!/usr/bin/env python3
"""What one machine serves: tokens a second by clients and type of weights, and sessions a GiB of memory.

usage: scripts/sizing.py [--rounds N] [--json FILE] [--plot FILE] [--llama FOLDER --gguf FILE]
       scripts/sizing.py --from FILE [--plot FILE]

Needs bench-load, edge-agent and cloud-service (cargo build --release --workspace --bins); scripts/sizing builds them
first. For each number of clients it loads a pair on loopback with each type of weights in turn, as scripts/load does,
and begins again for the next round, so that what is compared was measured in the same minutes. With --llama,
llama.cpp's llama-batched-bench takes its turn with prompts, answers and clients of the same numbers:

    cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_SERVER=OFF
    cmake --build build --target llama-batched-bench
    scripts/sizing --llama build/bin --gguf SmolLM2-135M-Instruct.Q4_1.gguf

A turn in which other processes took more than --busy of the processors is taken again, three times at most.

Tables go to stdout: medians of the rounds (least to greatest); a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import plots
import yardstick

ROOT = Path(__file__).resolve().parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
LLAMA = "llama.cpp"
GIB = 1 << 30
# Positions of a page.
PAGE = 32
# What a cloud grants unless its configuration says more.
MOST_CONTEXT = 8192
# How often a turn is taken before it is kept as it is.
TRIES = 4
SHORT_CONTEXT = 512


def main() -> None:
    arguments = parse()
    if arguments.saved:
        document = json.loads(arguments.saved.read_text())
    else:
        document = measure(arguments)
    print_speeds(document)
    print_sessions(document)
    if arguments.plot:
        plot(document, arguments.plot)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--weights", type=names, default=["f32", "int8", "int4"], help="types, separated by commas")
    parser.add_argument("--clients", type=numbers, default=[1, 4, 16, 32, 64], help="numbers, separated by commas")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=160, help="tokens of an answer")
    parser.add_argument("--seconds", type=int, default=8, help="that count, of each turn of the load generator")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=ROOT / ".tandem/models/smollm2-135m-instruct")
    parser.add_argument("--binaries", type=Path, default=BINARIES, help="where bench-load and both servers are")
    parser.add_argument("--llama", type=Path, help="a folder with llama.cpp's llama-batched-bench")
    parser.add_argument("--gguf", type=Path, help="the model for llama.cpp")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of llama.cpp")
    parser.add_argument(
        "--busy", type=float, default=0.1, help="share of the processors that others may take in a turn"
    )
    parser.add_argument("--json", type=Path, help="where the figures go, after each round")
    parser.add_argument("--from", dest="saved", type=Path, help="figures of an earlier run: nothing is measured")
    parser.add_argument("--plot", type=Path, help="an SVG file; needs matplotlib")
    arguments = parser.parse_args()
    if bool(arguments.llama) != bool(arguments.gguf):
        parser.error("--llama and --gguf go together")
    if arguments.rounds < 1 or min(arguments.clients) < 1:
        parser.error("--rounds and --clients are at least 1")
    return arguments


def names(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    shape = model_shape(arguments.model)
    contexts = dict.fromkeys([SHORT_CONTEXT, min(shape["context"], MOST_CONTEXT)])
    document: dict[str, Any] = {
        "prompt_tokens": arguments.prompt_tokens,
        "tokens": arguments.tokens,
        "seconds": arguments.seconds,
        "model": arguments.model.name,
        "gguf": arguments.gguf and arguments.gguf.name,
        "threads": arguments.threads,
        "sessions_a_gib": [row for context in contexts for row in sessions_a_gib(shape, context)],
        "runs": [],
    }
    rows = [*arguments.weights, *([LLAMA] if arguments.llama else [])]
    for number in range(arguments.rounds):
        for clients in arguments.clients:
            # Back and forth, so that none always comes first.
            for row in rows if number % 2 == 0 else reversed(rows):
                take = llama if row == LLAMA else tandem
                turn = yardstick.quiet(lambda: take(arguments, row, clients), arguments.busy, TRIES)
                run = {"round": number, "weights": row, "clients": clients, **turn}
                document["runs"].append(run)
                progress = f"round {number + 1}/{arguments.rounds}, clients {clients}, {row}"
                print(f"{progress}: {run['tokens_per_second']:.1f} tokens/s", file=sys.stderr)
        if arguments.json:
            document["speeds"] = speeds(document["runs"])
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return document


def tandem(arguments: argparse.Namespace, weights: str, clients: int) -> dict[str, Any]:
    """One turn of the load generator, with servers of its own."""
    command = [
        arguments.binaries / "bench-load", "--json",
        "--model", arguments.model,
        "--weights", weights,
        "--clients", clients,
        "--prompt-tokens", arguments.prompt_tokens,
        "--tokens", arguments.tokens,
        "--seconds", arguments.seconds,
    ]  # fmt: skip
    # The servers are those beside it: none is built in the middle of a measurement.
    environment = dict(os.environ, TANDEM_BIN_DIR=str(arguments.binaries.resolve()))
    (row,) = json.loads(output(command, environment))
    if row["failures"]:
        print(f"answers failed, so the figure is too small: {row['failures']}", file=sys.stderr)
    return {
        "tokens_per_second": row["tokens_per_second"],
        "first_token_ms": row["first_token_ms"]["p50"],
        "inter_token_ms": row["inter_token_ms"]["p50"],
        "inter_token_p99_ms": row["inter_token_ms"]["p99"],
        "failures": row["failures"],
    }


def llama(arguments: argparse.Namespace, _: str, clients: int) -> dict[str, Any]:
    """One turn of llama-batched-bench: all prompts at once, then a token of each sequence a step."""
    positions = arguments.prompt_tokens + arguments.tokens
    command = [
        arguments.llama / "llama-batched-bench", "--output-format", "jsonl",
        "-m", arguments.gguf,
        "-npp", arguments.prompt_tokens,
        "-ntg", arguments.tokens,
        "-npl", clients,
        "-c", clients * positions,
        "-t", arguments.threads,
        "-tb", arguments.threads,
    ]  # fmt: skip
    lines = [line for line in output(command).splitlines() if line.startswith("{")]
    if len(lines) != 1:
        sys.exit(f"{command[0]} printed {len(lines)} results, not one")
    found = json.loads(lines[0])
    return {
        "tokens_per_second": found["speed_tg"],
        # With the time of the prompts, which the load generator counts too.
        "with_prompts_per_second": clients * arguments.tokens / found["t"],
        "first_token_ms": 1e3 * found["t_pp"],
        "inter_token_ms": 1e3 * found["t_tg"] / arguments.tokens,
        "inter_token_p99_ms": None,
        "failures": {},
    }


def output(command: list[Any], environment: dict[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}:\n{done.stderr}")
    return done.stdout


def speeds(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each type of weights and number of clients."""
    found = {(run["weights"], run["clients"], run["round"]): run for run in runs}
    rounds = list(dict.fromkeys(run["round"] for run in runs))
    rows = []
    for weights in dict.fromkeys(run["weights"] for run in runs):
        for clients in dict.fromkeys(run["clients"] for run in runs):
            own = [found[weights, clients, number] for number in rounds]

            def ratio(of: str, at: int) -> dict[str, float] | None:
                others = [found.get((of, at, number)) for number in rounds]
                pairs = [(run, other) for run, other in zip(own, others) if other]
                return extremes([a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs])

            rows.append(
                {
                    "weights": weights,
                    "clients": clients,
                    "tokens_per_second": extremes([run["tokens_per_second"] for run in own]),
                    "over_one_client": ratio(weights, 1),
                    "over_llama": ratio(LLAMA, clients),
                    **{
                        name: extremes([run[name] for run in own if run[name] is not None])
                        for name in ("first_token_ms", "inter_token_ms", "inter_token_p99_ms")
                    },
                    "others_at_most": max(run["others"] for run in own),
                }
            )
    return rows


def extremes(values: list[float]) -> dict[str, float] | None:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)} if values else None


def print_speeds(document: dict[str, Any]) -> None:
    has_llama = document["gguf"] is not None
    print(f"\nA prompt of {document['prompt_tokens']} tokens, {document['tokens']} tokens behind it. ", end="")
    print(f"llama.cpp runs {document['gguf']}.\n" if has_llama else "\n")
    heads = ["weights", "clients", "tokens/s", "÷ one client", "first token, ms", "between two tokens, median and 99%, ms"]
    heads += ["÷ llama.cpp"] if has_llama else []
    print_row(heads)
    print_row(["---"] * len(heads))
    for row in speeds(document["runs"]):
        weights = LLAMA if row["weights"] == LLAMA else f"`{row['weights']}`"
        between = [shown(row[name], 1) for name in ("inter_token_ms", "inter_token_p99_ms")]
        rate = row["tokens_per_second"]
        cells = [
            weights,
            str(row["clients"]),
            f"{rate['median']:.1f} ({rate['min']:.1f} to {rate['max']:.1f})",
            shown(row["over_one_client"], 1),
            shown(row["first_token_ms"], 0),
            ", ".join(time for time in between if time),
        ]
        print_row([*cells, shown(row["over_llama"], 2)] if has_llama else cells)
    others = max(run["others"] for run in document["runs"])
    print(f"\nOther processes took {others:.0%} of the processors in the worst turn.")


def shown(value: dict[str, float] | None, digits: int) -> str:
    return f"{value['median']:.{digits}f}" if value else ""


def print_row(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |".replace("|  |", "| |"))


def model_shape(model: Path) -> dict[str, int]:
    config = json.loads((model / "config.json").read_text())
    heads = config["num_attention_heads"]
    return {
        "layers": config["num_hidden_layers"],
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "context": config["max_position_embeddings"],
    }


def sessions_a_gib(shape: dict[str, int], positions: int) -> list[dict[str, Any]]:
    """Sessions of so many positions that a GiB holds, at split 0, by the formula of docs/operations.md."""
    bytes_a_number = {"f32": 4, "bf16": 2, "int8": 1 + 4 / shape["head_dim"], "int4": 0.625}
    rounded = -(-positions // PAGE) * PAGE
    rows = []
    for kv, size in bytes_a_number.items():
        session = round(2 * shape["layers"] * rounded * shape["kv_heads"] * shape["head_dim"] * size)
        rows.append({"positions": positions, "kv": kv, "bytes": session, "sessions": GIB // session})
    return rows


def print_sessions(document: dict[str, Any]) -> None:
    rows = document["sessions_a_gib"]
    print("\nSessions that a GiB of `sessions.kv_memory` holds, split 0:\n")
    kinds = list(dict.fromkeys(row["kv"] for row in rows))
    print_row(["positions of a session", *(f"`{kv}`" for kv in kinds)])
    print_row(["---"] * (1 + len(kinds)))
    for positions in dict.fromkeys(row["positions"] for row in rows):
        held = {row["kv"]: row["sessions"] for row in rows if row["positions"] == positions}
        print_row([f"{positions:,}", *(f"{held[kv]:,}" for kv in kinds)])


def plot(document: dict[str, Any], out: Path) -> None:
    pyplot = plots.pyplot()
    if not pyplot:
        return
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    rows = speeds(document["runs"])
    for number, weights in enumerate(dict.fromkeys(row["weights"] for row in rows)):
        own = [row for row in rows if row["weights"] == weights]
        medians = [row["tokens_per_second"]["median"] for row in own]
        clients = [row["clients"] for row in own]
        name = f"{LLAMA}, {document['gguf']}" if weights == LLAMA else weights
        style = {"color": "0.4", "linestyle": "--"} if weights == LLAMA else {"color": f"C{number}"}
        axes.plot(clients, medians, marker="osD^v<>p"[number % 8], markersize=5, label=name, **style)
        least, most = ([row["tokens_per_second"][end] for row in own] for end in ("min", "max"))
        axes.vlines(clients, least, most, color=style["color"], linewidth=0.8)
    ticks = sorted({row["clients"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(clients) for clients in ticks])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="clients at once", ylabel="tokens/s of all")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    plots.save(figure, out)


if __name__ == "__main__":
    main()
