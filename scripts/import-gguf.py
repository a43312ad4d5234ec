"""Imports a GGUF file into a Hugging Face model directory that Tandem (or transformers) loads.

Llama, Mistral, Qwen2 and Qwen3 in every quantisation that PyPI's `gguf` can dequantise. What
cannot be carried over exactly is refused by name. Needs `gguf` and `numpy`: scripts/import-gguf
brings them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from gguf_import.directory import import_directory
from gguf_import.source import Refused


def main() -> int:
    parser = argparse.ArgumentParser(prog="import-gguf", description=__doc__)
    parser.add_argument("gguf", type=Path, metavar="GGUF", help="the file to import")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="the directory to create; it must not exist yet")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="how weights are written (default: f32)")
    arguments = parser.parse_args()
    # So that being stopped by a signal, too, removes what is half-written.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    progress = Progress()
    try:
        config = import_directory(arguments.gguf, arguments.out, arguments.dtype, progress)
    except Refused as refusal:
        print(f"import-gguf: {refusal}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"import-gguf: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("import-gguf: interrupted; nothing was left behind", file=sys.stderr)
        return 130
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    print(f"{arguments.out}: {config['architectures'][0]}, {layers} layers, hidden size {hidden}, {arguments.dtype}")
    return 0


class Progress:
    """Bytes written: one line that is redrawn on a terminal, one line a quarter elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        part = done / max(total, 1)
        message = f"import-gguf: {done >> 20} of {total >> 20} MiB of weights written"
        if self._terminal:
            now = time.monotonic()
            if part < 1.0 and now < self._next:
                return
            self._next = now + 0.1
            print(f"\r{message}", end="\n" if part >= 1.0 else "", file=sys.stderr, flush=True)
        elif part >= self._next:
            self._next = part - part % 0.25 + 0.25
            print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
