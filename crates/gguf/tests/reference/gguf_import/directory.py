"""The whole import: everything is written beside the target and renamed into place at the end."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import weights
from .architecture import read_config
from .source import Refused, Source
from .vocabulary import read_tokenizer


def import_directory(
    gguf_file: Path, out: Path, dtype: str, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Imports `gguf_file` into the new directory `out` and returns its config."""
    if out.exists():
        raise Refused(f"{out}: exists already; remove it first or name another directory")
    source = Source(gguf_file)
    config = read_config(source, dtype)
    planned = weights.plan(source, config)
    documents = {"config.json": config, **read_tokenizer(source)}
    documents["gguf-source.json"] = {"file": gguf_file.name, "metadata": source.under("general.")}

    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        for name, document in documents.items():
            with open(aside / name, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2, ensure_ascii=False)
                file.write("\n")
        weights.write(planned, aside / "model.safetensors", dtype, progress)
        os.chmod(aside, 0o755)
        os.rename(aside, out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return config
