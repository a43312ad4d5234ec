"""Checks and completes a bill of materials that cargo-cyclonedx has written, for scripts/sbom.

usage: sbom.py BILL TREE REQUIREMENTS MACHINE
  BILL          CycloneDX's JSON
  TREE          the crates that must be in it, and no others: `cargo tree --prefix none`
  REQUIREMENTS  scripts/requirements/libtorch.txt
  MACHINE       x86_64 or aarch64

Prints the bill with the wheels of libtorch, where torch-sys is in it, and without the folder that it was made in.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

# The order of each wheel's hashes in REQUIREMENTS.
MACHINES = ("x86_64", "aarch64")
LINKS_LIBTORCH = "torch-sys"
REQUIREMENT = re.compile(r"^([\w-]+)==([\w.]+)((?:\s*\\\s*--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def main() -> int:
    file, tree, requirements, machine = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    bill = without_folder(json.loads(file.read_text(encoding="utf-8")))
    problems = differences(bill, tree.read_text(encoding="utf-8"))
    if problems:
        print("\n".join(f"sbom: {file.name}: {problem}" for problem in problems), file=sys.stderr)
        return 1
    linking = [component["bom-ref"] for component in bill["components"] if component["name"] == LINKS_LIBTORCH]
    if linking:
        add_libtorch(bill, linking, wheels(requirements.read_text(encoding="utf-8"), MACHINES.index(machine)))
    json.dump(bill, sys.stdout, indent=2)
    print()
    return 0


def without_folder(bill: dict[str, Any]) -> dict[str, Any]:
    """The same with paths from the workspace's root on, in the names that components are referred to by."""
    component = bill["metadata"]["component"]
    folder = component["bom-ref"].rsplit(f"{component['name']}#", 1)[0]
    return json.loads(json.dumps(bill).replace(json.dumps(folder)[1:-1], "path+file:///"))


def differences(bill: dict[str, Any], tree: str) -> list[str]:
    """What is wrong with it."""
    if bill.get("bomFormat") != "CycloneDX":
        return [f"is no bill of CycloneDX: {bill.get('bomFormat')}"]
    # "name v1.2.3", and what kind it is or that it was named before.
    wanted = {(name, version[1:]) for name, version, *_ in (line.split() for line in tree.splitlines() if line)}
    found = {(one["name"], one["version"]) for one in [bill["metadata"]["component"], *bill["components"]]}
    return [
        f"{' '.join(one)} {problem}"
        for problem, ones in (("is missing", wanted - found), ("is not in the program", found - wanted))
        for one in sorted(ones)
    ]


def wheels(requirements: str, machine: int) -> list[dict[str, Any]]:
    """The wheels as components, libtorch's own first."""
    found = []
    for name, version, hashes in REQUIREMENT.findall(requirements):
        purl = f"pkg:pypi/{name}@{version}"
        digest = re.findall("[0-9a-f]{64}", hashes)[machine]
        found.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "description": "Libraries that libtorch needs" if found else "libtorch",
                "scope": "required",
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "purl": purl,
            }
        )
    return found


def add_libtorch(bill: dict[str, Any], linking: list[str], libtorch: list[dict[str, Any]]) -> None:
    """Puts it behind the crates that link it."""
    refs = [wheel["bom-ref"] for wheel in libtorch]
    bill["components"] += libtorch
    for dependency in bill["dependencies"]:
        if dependency["ref"] in linking:
            dependency.setdefault("dependsOn", []).append(refs[0])
    bill["dependencies"] += [{"ref": refs[0], "dependsOn": refs[1:]}, *({"ref": ref} for ref in refs[1:])]


if __name__ == "__main__":
    sys.exit(main())
