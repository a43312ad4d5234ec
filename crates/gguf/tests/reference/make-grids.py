"""Writes the packed codebooks in src/dequantise/grids from those of PyPI's `gguf`.

usage: .tandem/venv/bin/python crates/gguf/tests/reference/make-grids.py
"""

from pathlib import Path

from gguf import quants

GRIDS = Path(__file__).parents[2] / "src" / "dequantise" / "grids"

for name, rule in (
    ("iq1", quants.IQ1_S),
    ("iq2_xxs", quants.IQ2_XXS),
    ("iq2_xs", quants.IQ2_XS),
    ("iq2_s", quants.IQ2_S),
    ("iq3_xxs", quants.IQ3_XXS),
    ("iq3_s", quants.IQ3_S),
):
    # The library keeps each book in the packed form too, spelt in hexadecimal.
    (GRIDS / f"{name}.bin").write_bytes(bytes.fromhex(rule.grid_hex.decode()))
