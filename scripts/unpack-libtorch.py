"""Takes libtorch's headers and CPU libraries out of PyPI wheels.

usage: unpack-libtorch.py WHEEL_DIR OUT_DIR VERSION

PyPI's torch wheel for Linux is the CUDA build, but its CPU half stands alone: beside what the
wheel itself carries, libtorch_cpu.so needs only libcudart and libcupti, which come in two small
wheels. On aarch64 the wheel also carries the BLAS and Arm libraries that libtorch_cpu.so needs
there; scripts/test-aarch64 runs with that set.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

LIBRARIES = re.compile(
    r"torch/lib/(libtorch_cpu\.so|libc10\.so|libgomp\.so\.1|libnvpl_\w+\.so\.0|libarm_compute\w*\.so|libgfortran\.so\.5)"
    r"|nvidia/cu13/lib/(libcudart\.so\.13|libcupti\.so\.13)"
)
NEEDED = ("libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13")


def main() -> int:
    wheels, out, version = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    (out / "lib").mkdir(parents=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                target = target_of(member.filename)
                if target is None or member.is_dir():
                    continue
                path = out / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, open(path, "wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    missing = [name for name in NEEDED if not (out / "lib" / name).is_file()]
    if missing or not (out / "include" / "torch").is_dir():
        print(f"unpack-libtorch: the wheels in {wheels} lack {', '.join(missing) or 'the headers'}", file=sys.stderr)
        return 1
    os.symlink("libtorch_cpu.so", out / "lib" / "libtorch.so")
    (out / "build-version").write_text(f"{version}\n", encoding="ascii")
    return 0


def target_of(member: str) -> str | None:
    """Where a file of a wheel goes under OUT_DIR, or None where it is not wanted."""
    if member.startswith("torch/include/"):
        return member[len("torch/") :]
    if LIBRARIES.fullmatch(member):
        return f"lib/{member.rsplit('/', 1)[1]}"
    if re.fullmatch(r"torch-[^/]+\.dist-info/licenses/LICENSE", member):
        return "LICENSE"
    return None


if __name__ == "__main__":
    sys.exit(main())
