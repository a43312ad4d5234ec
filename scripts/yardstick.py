#!/usr/bin/env python3
"""Compares tandem-eval with llama.cpp on one machine, in one run.

    python3 -m venv /tmp/yardstick && /tmp/yardstick/bin/pip install llama-cpp-python==0.3.36
    cargo build --release -p tandem-eval
    /tmp/yardstick/bin/python scripts/yardstick.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf

llama-cpp-python compiles llama.cpp for this processor (cmake and a C++ compiler, ten minutes on
two cores). Both run the same number of threads over prompts of the same length, in turn. A
repeat in which other processes took more than --busy of the processors is taken again.

The result goes to stdout: medians (least to greatest) in milliseconds, and llama.cpp's time over
tandem's. A ratio of 0.4 means that tandem runs at 0.4 times llama.cpp's speed.
"""

import argparse
import ctypes
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# How often a repeat is taken again before it is kept as it is.
RETRIES = 20


def main() -> int:
    args = arguments()
    llama = Llama(args)
    measures = {"llama": [], "tandem": []}
    for repeat in range(args.repeats + 1):
        for name, measure in (("llama", llama.measure), ("tandem", lambda: tandem(args))):
            result = quiet(measure, args.busy)
            print(f"repeat {repeat}/{args.repeats} {name}: {result}", file=sys.stderr)
            # The first one warms up.
            if repeat > 0:
                measures[name].append(result)
    report = summarise(measures)
    report["threads"] = args.threads
    print(json.dumps(report, indent=2) if args.json else table(report))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf", required=True, help="the model for llama.cpp")
    parser.add_argument(
        "--model",
        default=ROOT / ".tandem/models/smollm2-135m-instruct",
        help="the same model as a Hugging Face directory",
    )
    parser.add_argument("--tandem-eval", default=ROOT / "target/release/tandem-eval")
    parser.add_argument("--weights", default="f32", help="tandem's type of matrices")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--decode-tokens", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=128, help="rows of tandem's prompt chunks")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--busy",
        type=float,
        default=0.05,
        help="share of the processors that others may take in a repeat",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Llama:
    """llama.cpp through its C interface: no Python in what is timed but a loop and an argmax."""

    def __init__(self, args: argparse.Namespace):
        import llama_cpp

        self.api = llama_cpp
        self.args = args
        llama_cpp.llama_log_set(_silence, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(str(args.gguf).encode(), model_params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {args.gguf}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = args.prompt_tokens + args.decode_tokens + 1
        params.n_batch = params.n_ubatch = max(512, args.prompt_tokens)
        params.n_threads = params.n_threads_batch = args.threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama.cpp cannot make a context")
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def measure(self) -> dict:
        api, args = self.api, self.args
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        prompt = [i * 7919 % self.vocabulary for i in range(args.prompt_tokens)]
        start = time.perf_counter()
        token = self.decode(prompt)
        prefill = time.perf_counter() - start
        start = time.perf_counter()
        for _ in range(args.decode_tokens):
            token = self.decode([token])
        decode = (time.perf_counter() - start) / args.decode_tokens
        return {"prefill_ms": prefill * 1e3, "decode_ms": decode * 1e3}

    def decode(self, tokens: list) -> int:
        import numpy

        array = (self.api.llama_token * len(tokens))(*tokens)
        code = self.api.llama_decode(
            self.context, self.api.llama_batch_get_one(array, len(tokens))
        )
        if code != 0:
            sys.exit(f"llama_decode returned {code}")
        logits = self.api.llama_get_logits_ith(self.context, -1)
        return int(numpy.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _silence(_level, _text, _data):
    pass


def tandem(args: argparse.Namespace) -> dict:
    command = [
        str(args.tandem_eval), "bench", "--json", "--repeats", "1",
        "--model", str(args.model),
        "--back-weights", args.weights,
        "--threads", str(args.threads),
        "--prompt-tokens", str(args.prompt_tokens),
        "--decode-tokens", str(args.decode_tokens),
        "--chunk", str(args.chunk),
    ]  # fmt: skip
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stderr.decode()}")
    unsplit = json.loads(done.stdout)["unsplit"]
    return {name: unsplit[name]["median"] for name in ("prefill_ms", "decode_ms")}


def quiet(measure, limit: float, retries: int = RETRIES) -> dict:
    """Measures until other processes, and other machines on the same host, left us alone."""
    for left in reversed(range(retries)):
        start, before, own = time.perf_counter(), busy_seconds(), own_seconds()
        result = measure()
        others = busy_seconds() - before - (own_seconds() - own)
        share = others / (time.perf_counter() - start) / os.cpu_count()
        result["others"] = round(max(0.0, share), 3)
        if share <= limit or left == 0:
            break
        print(f"others took {share:.0%} of the processors; again", file=sys.stderr)
        time.sleep(5)
    return result


def busy_seconds() -> float:
    """All time that all processors did not idle, and the time that the host took away."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(
            int, stat.readline().split()[1:]
        )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def summarise(measures: dict) -> dict:
    report = {}
    for phase in ("prefill_ms", "decode_ms"):
        values = {name: [m[phase] for m in results] for name, results in measures.items()}
        ratios = [l / t for l, t in zip(values["llama"], values["tandem"])]
        report[phase] = {name: extremes(v) for name, v in values.items()}
        report[phase]["ratio"] = extremes(ratios)
    report["others_at_most"] = max(m["others"] for results in measures.values() for m in results)
    return report


def extremes(values: list) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(report: dict) -> str:
    def cell(value: dict) -> str:
        return f"{value['median']:.2f} ({value['min']:.2f} to {value['max']:.2f})"

    lines = [f"{'':<12}{'llama.cpp':>28}{'tandem':>28}{'speed ratio':>24}"]
    for phase in ("prefill_ms", "decode_ms"):
        row = report[phase]
        cells = (cell(row[name]) for name in ("llama", "tandem", "ratio"))
        lines.append("{:<12}{:>28}{:>28}{:>24}".format(phase, *cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
