#!/usr/bin/env python3
"""Tables and, with matplotlib, a plot of what `tandem-eval compare --json` has measured.

usage: scripts/codec-frontier.py [--out PLOT.svg] REPORT.json...
"""

import argparse
import json
from pathlib import Path

import plots

COLOURS = {"high": "C0", "tabq": "C1", "balanced": "C2", "economy": "C3", "int8": "C7", "bf16": "C5"}
MARKERS = "osD^v<>ph*"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="an SVG file")
    arguments = parser.parse_args()
    points = []
    for path in arguments.reports:
        report = json.loads(path.read_text())
        points += report if isinstance(report, list) else [report]
    print_tables(points)
    if arguments.out:
        plot(points, arguments.out)


def print_tables(points: list) -> None:
    for codec in dict.fromkeys(point["codec"] for point in points):
        print(f"\n`{codec}`\n")
        print("| after layer | bits a value | mean KL | p99 KL | top-1 agreement (95%) | perplexity |")
        print("| --- | --- | --- | --- | --- | --- |")
        for point in points:
            if point["codec"] == codec:
                low, high = point["top1_interval"]
                print(
                    f"| {point['split']} | {point['bits_per_value']:.2f}"
                    f" | {point['kl_mean']:.2e} ± {point['kl_standard_error']:.0e} | {point['kl_p99']:.1e}"
                    f" | {100 * point['top1_agreement']:.2f}% ({100 * low:.2f} to {100 * high:.2f})"
                    f" | {100 * point['perplexity_change']:+.2f}% |"
                )


def plot(points: list, out: Path) -> None:
    pyplot = plots.pyplot()
    if not pyplot:
        return

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    splits = sorted({point["split"] for point in points})
    for point in points:
        style = {
            "color": COLOURS.get(point["codec"], "k"),
            "marker": MARKERS[splits.index(point["split"]) % len(MARKERS)],
            "markersize": 5,
            "linestyle": "none",
        }
        left.plot(point["bits_per_value"], point["kl_mean"], **style)
        low, high = point["top1_interval"]
        right.plot(point["bits_per_value"], 100 * point["top1_agreement"], **style)
        right.vlines(point["bits_per_value"], 100 * low, 100 * high, color=style["color"], linewidth=0.8)
    left.set_yscale("log")
    left.set_ylabel("mean KL divergence, nats")
    right.set_ylabel("top-1 agreement, %")
    for axes in (left, right):
        axes.set_xlabel("bits a value, one row a frame")
        axes.grid(alpha=0.3)
    codecs = dict.fromkeys(point["codec"] for point in points)
    for codec in codecs:
        left.plot([], [], "o", color=COLOURS.get(codec, "k"), markersize=5, label=codec)
    for number, split in enumerate(splits):
        marker = MARKERS[number % len(MARKERS)]
        left.plot([], [], marker, color="0.4", markersize=5, label=f"after layer {split}")
    left.legend(fontsize=7)
    plots.save(figure, out)


if __name__ == "__main__":
    main()
