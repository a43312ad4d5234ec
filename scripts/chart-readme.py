"""Writes the table of values in charts/tandem/README.md from the comments of values.yaml.

usage: scripts/chart-readme.py [--check]
  --check  writes nothing, and fails where the README is not what it would write
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[1] / "charts" / "tandem"
BEGIN, END = "<!-- values: written by scripts/chart-readme.py -->\n", "<!-- end of values -->"
# Maps that are one value to whoever sets them.
WHOLE = re.compile(r"(resources|behavior|labels|rollingUpdate|strategy|updateStrategy|podSecurityContext)$")


def rows(text: str) -> list[tuple[str, str, str]]:
    """Path, default and description of every value, in the file's order."""
    found: list[tuple[str, str, str]] = []
    walk(yaml.compose(text), "", text.splitlines(), found)
    return found


def walk(node: yaml.Node, path: str, lines: list[str], found: list[tuple[str, str, str]]) -> None:
    for key, value in node.value:
        name = f"{path}.{key.value}".lstrip(".")
        comment = comment_above(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and value.value and not WHOLE.search(name):
            if comment:
                found.append((name, "", comment))
            walk(value, name, lines, found)
            continue
        inner = inner_comments(value, lines)
        found.append((name, default(value), " ".join(filter(None, [comment, *inner]))))


def inner_comments(value: yaml.Node, lines: list[str]) -> list[str]:
    if not isinstance(value, yaml.MappingNode) or value.flow_style:
        return []
    return [comment_above(lines, key.start_mark.line) for key, _ in value.value]


def comment_above(lines: list[str], line: int) -> str:
    comment: list[str] = []
    for above in reversed(lines[:line]):
        if not above.strip().startswith("# "):
            break
        comment.insert(0, above.strip().removeprefix("# "))
    return " ".join(comment)


def default(node: yaml.Node) -> str:
    value = yaml.SafeLoader("").construct_document(node)
    return f"`{json.dumps(value, ensure_ascii=False)}`" if value not in ("", None) else ""


def table() -> str:
    lines = ["", "| value | default | |", "| --- | --- | --- |"]
    for path, value, description in rows((CHART / "values.yaml").read_text()):
        cells = [f"`{path}`", value, description.replace("|", "\\|")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def main() -> None:
    readme = CHART / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    written = before + BEGIN + table() + END + after
    if sys.argv[1:] == ["--check"]:
        if written != text:
            sys.exit("chart-readme: charts/tandem/README.md is not up to date; run scripts/chart-readme.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        readme.write_text(written)


if __name__ == "__main__":
    main()
