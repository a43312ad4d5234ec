"""Plots tokens a second against the round trip, with drafts and without, of documents that scripts/bench-drafts wrote.

usage: python3 scripts/drafts-plot.py OUT.svg DOCUMENT.json…
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import plots


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    pyplot = plots.pyplot()
    if pyplot is None:
        return 1
    documents = [json.loads(Path(path).read_text()) for path in sys.argv[2:]]
    figure, all_axes = pyplot.subplots(1, len(documents), figsize=(4.8 * len(documents), 4), squeeze=False, layout="constrained")
    for axes, document in zip(all_axes[0], documents):
        workloads = list(dict.fromkeys(row["workload"] for row in document["rows"]))
        for number, workload in enumerate(workloads):
            rows = [row for row in document["rows"] if row["workload"] == workload]
            rows.sort(key=lambda row: row["round_trip_ms"])
            trips = [row["round_trip_ms"] for row in rows]
            for field, line in (("with_ms", "-"), ("without_ms", ":")):
                speeds = [1e3 / row[field] for row in rows]
                label = workload if field == "with_ms" else None
                axes.plot(trips, speeds, line, marker="o", color=f"C{number}", label=label)
        rates = ", ".join(dict.fromkeys(row["rate"] for row in document["rows"]))
        axes.set_title(f"{Path(document['model']).stem}, split {document['split']}, {rates}/s")
        axes.set_xlabel("round trip, ms")
        axes.set_ylabel("tokens a second: with drafts, dotted without")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    plots.save(figure, Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
