"""Plots as SVG files, where matplotlib is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def pyplot() -> Any:
    """matplotlib's pyplot; None, with a word about it, where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        print("no plot without matplotlib (python3 -m pip install matplotlib)", file=sys.stderr)
        return None
    matplotlib.use("svg")
    # The same file for the same figures.
    matplotlib.rcParams.update({"svg.hashsalt": "tandem", "font.size": 9})
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, out: Path) -> None:
    """Writes a figure without the date, which would change the file each time."""
    figure.savefig(out, metadata={"Date": None})
