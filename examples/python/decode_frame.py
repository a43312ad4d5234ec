#!/usr/bin/env python3
"""Reads Tandem's frames of hidden rows, as docs/codec.md describes them.

    decode_frame.py FRAME [--profile FILE] [--hidden N]   print the rows of one frame
    decode_frame.py --check FOLDER                        compare a folder's frames with their rows

Python 3.9 or later, nothing but the standard library. The section of the page that a class or a
function follows is named at its head. Fingerprints of profiles are BLAKE3, which the standard
library does not have: who calls `decode` makes sure that the profile is the right one.
"""

from __future__ import annotations

import argparse
import array
import functools
import math
import pathlib
import struct
import sys

F32, BF16, INT8, TABQ, EC_BUILT_IN, EC_CALIBRATED = 1, 2, 3, 4, 5, 6
# Formats whose values leave no choice in floating point.
EXACT = (F32, BF16, INT8, TABQ)
LARGEST = (2 - 2.0**-23) * 2.0**127

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILT_IN = ROOT / "crates/codec/src/entropy_coded/built_in.profile"


class FrameError(Exception):
    """A frame or a profile is refused. `kind` is an error of the page's table."""

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


def binary32(value: float) -> float:
    """The nearest binary32, infinite where struct would raise."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def bfloat16(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


class Bytes:
    """Bytes from the front to the end. Running out of them is an error of `kind`."""

    def __init__(self, data: bytes, kind: str):
        self.data, self.at, self.kind = data, 0, kind

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise FrameError(self.kind, f"ends {count - len(taken)} bytes early")
        self.at += count
        return taken

    def unpack(self, form: str) -> tuple:
        form = "<" + form
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def left(self) -> int:
        return len(self.data) - self.at

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise FrameError(self.kind, "a varint of more than 5 bytes")


class Bits:
    """Section "Format 4: tabq": bits from the lowest of a byte to the highest."""

    def __init__(self, source: Bytes):
        self.source, self.byte, self.have = source, 0, 0

    def take(self, count: int) -> int:
        value = 0
        for i in range(count):
            if self.have == 0:
                self.byte, self.have = self.source.take(1)[0], 8
            value |= (self.byte & 1) << i
            self.byte >>= 1
            self.have -= 1
        return value

    def end(self) -> None:
        """What fills up the last byte has to be 0."""
        if self.byte:
            raise FrameError("malformed", "bits behind the last one are set")


# Section "Indices".
RADII = (2, 2, 2, 2, 2, 3, 4, 5, 8, 11, 15, 21, 30, 41)
TOTAL = 4096


class Profile:
    """Section "Profiles": what decoding needs of one."""

    @staticmethod
    def read(data: bytes) -> Profile:
        if len(data) > 1 << 20:
            raise FrameError("profile", "more than 1 MiB")
        source = Bytes(data, "profile")
        profile = Profile()
        if source.take(8) != b"tandem\0p" or source.take(1) != b"\2":
            raise FrameError("profile", "not a profile of version 2")
        profile.weights = source.take(32)
        profile.split, *profile.base = source.unpack("H3h")
        profile.slope, profile.unit, profile.tabq = source.unpack("Bhf")
        profile.hidden, reflections = source.unpack("IB")
        within(0, profile.slope, 64, "slope")
        within(-400, profile.unit, 400, "unit")
        within(0, reflections, 64 if profile.hidden else 0, "reflections")
        if not 0 < profile.tabq < math.inf:
            raise FrameError("profile", "the step of tabq is not positive")
        profile.tables = [[Table.read(source, r) for r in RADII] for _ in range(2)]
        profile.means, profile.transformed, profile.vectors = [], [], []
        # The built-in profile ends after the tables.
        if profile.hidden > 0:
            channels = profile.hidden
            profile.means = source.unpack(f"{channels}f")
            if not all(map(math.isfinite, profile.means)):
                raise FrameError("profile", "a mean is not finite")
            spreads = source.unpack(f"{channels}h")
            profile.transformed = source.unpack(f"{channels}h")
            for spread in spreads + profile.transformed:
                within(-400, spread, 400, "spread")
            for _ in range(reflections):
                profile.vectors.append(Reflection(source.unpack(f"{channels}h")))
        if source.left():
            raise FrameError("profile", f"{source.left()} bytes behind the end")
        return profile


def within(least: int, value: int, most: int, name: str) -> None:
    if not least <= value <= most:
        raise FrameError("profile", f"{name} {value} is not in {least} to {most}")


class Table:
    """Frequencies of symbols, and the symbol of every place."""

    def __init__(self, frequencies: tuple):
        if min(frequencies) < 1 or sum(frequencies) != TOTAL:
            raise FrameError("profile", f"frequencies {frequencies} do not make a table")
        self.frequencies = frequencies
        self.starts, self.symbols = [], []
        for symbol, frequency in enumerate(frequencies):
            self.starts.append(len(self.symbols))
            self.symbols += [symbol] * frequency

    @staticmethod
    def read(source: Bytes, radius: int) -> Table:
        return Table(source.unpack(f"{2 * radius + 2}H"))


class Reflection:
    """One of the profile's vectors, as its values that are not 0 and 2 / (v · v)."""

    def __init__(self, vector: tuple):
        if not any(vector):
            raise FrameError("profile", "a vector is zero")
        self.vector = vector
        self.factor = 2 / sum(v * v for v in vector)

    def apply(self, row: list) -> None:
        along = self.factor * sum(v * y for v, y in zip(self.vector, row))
        for column, v in enumerate(self.vector):
            row[column] -= along * v


@functools.lru_cache(maxsize=None)
def built_in() -> Profile:
    return Profile.read(BUILT_IN.read_bytes())


def read_f32(source: Bytes, hidden: int) -> list:
    return list(source.unpack(f"{hidden}f"))


def read_bf16(source: Bytes, hidden: int) -> list:
    return [bfloat16(bits) for bits in source.unpack(f"{hidden}H")]


def read_int8(source: Bytes, hidden: int) -> list:
    least, step = source.unpack("ff")
    row = [least + step * byte for byte in source.take(hidden)]
    # A least value or a step that is not finite must not be hidden by the bounds.
    if all(map(math.isfinite, row)):
        row = [binary32(max(-LARGEST, min(LARGEST, value))) for value in row]
    return row


def read_tabq(source: Bytes, hidden: int) -> list:
    """Section "Format 4: tabq"."""
    (width,) = source.unpack("B")
    if width == 0:
        return read_f32(source, hidden)
    if not 2 <= width <= 8:
        raise FrameError("malformed", f"codes of {width} bits")
    step_bits, lowest = source.unpack("Hh")
    step = bfloat16(step_bits)
    if not 0 < step < math.inf:
        raise FrameError("malformed", f"a step of {step}")
    packed = Bits(source)
    codes = [packed.take(width) for _ in range(hidden)]
    packed.end()
    row = [binary32(step * (lowest + code)) for code in codes]
    outliers = source.varint()
    if outliers > hidden:
        raise FrameError("malformed", f"{outliers} outliers in {hidden} values")
    if outliers:
        stream = Bits(source)
        rice = stream.take(4)
        column = -1
        for _ in range(outliers):
            column += 1 + read_gap(stream, rice, hidden - column - 2)
            upper = stream.take(16 - width)
            row[column] = bfloat16(upper << width | codes[column])
        stream.end()
    return row


def read_gap(stream: Bits, rice: int, most: int) -> int:
    ones = 0
    while stream.take(1):
        ones += 1
    gap = (ones << rice) | stream.take(rice)
    if gap > most:
        raise FrameError("malformed", "an outlier behind the last column")
    return gap


OUTLIERS = Table((2816, 640, 256, 128, 64, 48, 32, 24, 20, 16, 14, 12, 10, 8, 6, 2))
POWERS = [binary32(2 ** (i / 8)) for i in range(8)]
# By the parity of an index: where the trellis' machine goes from each of its states.
MACHINE = ((0, 3, 5, 6, 1, 2, 4, 7), (1, 2, 4, 7, 0, 3, 5, 6))


class Symbols:
    """Section "The symbols' coder"."""

    def __init__(self, source: Bytes):
        self.source = source
        self.state = int.from_bytes(source.take(3), "big")

    def advance(self, start: int, frequency: int) -> None:
        place = self.state % TOTAL
        self.state = frequency * (self.state // TOTAL) + place - start
        while self.state < 65536 and self.source.left():
            self.state = 256 * self.state + self.source.take(1)[0]

    def take(self, table: Table) -> int:
        symbol = table.symbols[self.state % TOTAL]
        self.advance(table.starts[symbol], table.frequencies[symbol])
        return symbol

    def bits(self, count: int) -> int:
        frequency = 1 << (12 - count)
        value = self.state % TOTAL // frequency
        self.advance(value * frequency, frequency)
        return value

    def bits16(self) -> int:
        return self.bits(8) << 8 | self.bits(8)

    def end(self) -> None:
        if self.source.left():
            raise FrameError("payload", f"{self.source.left()} bytes behind the end")
        if self.state != 1:
            raise FrameError("malformed", f"the symbols end in state {self.state}, not 1")


def read_entropy_coded(symbols: Symbols, hidden: int, profile: Profile) -> list:
    """Sections "A row", "Indices" and "From indices to values"."""
    scale, fineness, trellis = symbols.bits(8), symbols.bits(7), symbols.bits(1)
    count = symbols.take(OUTLIERS)
    outliers = [(symbols.bits16(), bfloat16(symbols.bits16())) for _ in range(count)]
    # By the built-in profile too, where outliers have no meaning.
    for column, _ in outliers:
        if column >= hidden:
            raise FrameError("malformed", f"an outlier in column {column} of {hidden}")
    eighths = scale - 128 - (fineness - 24) + profile.unit
    step = POWERS[eighths % 8] * 2.0 ** (eighths // 8)
    row, state = [], 0
    for column in range(hidden):
        spread = fineness - 24
        if profile.hidden:
            spread += profile.transformed[column]
        value, odd = read_value(symbols, profile.tables[state % 2], spread, step, state % 2)
        row.append(value)
        if trellis:
            state = MACHINE[odd][state]
    if profile.hidden == 0:
        return row
    # In binary64: how the sums are rounded on the way is left to the decoder.
    for reflection in reversed(profile.vectors):
        reflection.apply(row)
    for column, value in outliers:
        row[column] = value
    return [binary32(value + mean) for value, mean in zip(row, profile.means)]


def read_value(symbols: Symbols, tables: list, spread: int, step: float, quantiser: int) -> tuple:
    """A value and the parity of its index."""
    shift = 0 if spread < 24 else min(12, (spread - 24) // 8 + 1)
    band = max(0, min(13, (spread - 8 * shift + 32) // 4))
    radius = RADII[band]
    symbol = symbols.take(tables[band])
    if symbol == 2 * radius + 1:
        return bfloat16(symbols.bits16()), 0
    low = symbols.bits(shift) if shift else 0
    index = ((symbol - radius) << shift) + low - (1 << shift) // 2
    steps = index
    if quantiser and index:
        steps = index - math.copysign(0.5, index)
    return binary32(steps * step), index % 2


READERS = {F32: read_f32, BF16: read_bf16, INT8: read_int8, TABQ: read_tabq}
# Bytes a row, where all rows take as many.
FIXED = {
    F32: lambda hidden: 4 * hidden,
    BF16: lambda hidden: 2 * hidden,
    INT8: lambda hidden: 8 + hidden,
}


def header(frame: bytes) -> tuple:
    """Format, rows, hidden, and where the payload begins."""
    source = Bytes(frame, "malformed header")
    (format_,) = source.unpack("B")
    if not F32 <= format_ <= EC_CALIBRATED:
        raise FrameError("unknown format", str(format_))
    return format_, source.varint(), source.varint(), source.at


def decode(
    frame: bytes, hidden: int, max_rows: int, profile: Profile | None = None
) -> list[list[float]]:
    """The rows of a frame: at most `max_rows`, of `hidden` values each, all of them finite.

    The steps are those of section "Decoding". `profile` is the session's, for format 6.
    """
    format_, rows, declared, at = header(frame)
    if not 1 <= rows <= max_rows:
        raise FrameError("rows", f"{rows}, not 1 to {max_rows}")
    if declared != hidden:
        raise FrameError("hidden", f"{declared} values a row, not {hidden}")
    source = Bytes(frame[at:], "payload")
    if format_ in FIXED and source.left() != rows * FIXED[format_](hidden):
        raise FrameError("payload", f"{source.left()} bytes, not {rows * FIXED[format_](hidden)}")
    if format_ == EC_BUILT_IN:
        profile = built_in()
    elif format_ == EC_CALIBRATED and (profile is None or profile.hidden != hidden):
        raise FrameError("no profile", f"for rows of {hidden} values")
    if format_ in READERS:
        decoded = [READERS[format_](source, hidden) for _ in range(rows)]
    else:
        symbols = Symbols(source)
        decoded = [read_entropy_coded(symbols, hidden, profile) for _ in range(rows)]
        symbols.end()
    if source.left():
        raise FrameError("payload", f"{source.left()} bytes behind the end")
    for row, values in enumerate(decoded):
        for column, value in enumerate(values):
            if not math.isfinite(value):
                raise FrameError("not finite", f"row {row}, column {column}")
    return decoded


# No session grants a limit here: what a frame of the largest length could hold.
MAX_ROWS = 1 << 18


def print_rows(path: pathlib.Path, profile: Profile | None, hidden: int | None) -> None:
    frame = path.read_bytes()
    for row in decode(frame, hidden or header(frame)[2], MAX_ROWS, profile):
        print(*(f"{value:.9g}" for value in row))


def floats(path: pathlib.Path) -> array.array:
    values = array.array("f", path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def difference(frame: bytes, rows: list, expected: array.array, hidden: int) -> str:
    """What is wrong with the rows, or nothing."""
    if len(expected) != len(rows) * hidden:
        return f"{len(rows)} rows, not {len(expected) / hidden:g}"
    for number, row in enumerate(rows):
        wanted = expected[number * hidden : (number + 1) * hidden]
        if frame[0] in EXACT:
            # As bytes, so that a zero of the other sign counts.
            same = array.array("f", row).tobytes() == wanted.tobytes()
        else:
            # One outlier must not excuse all others: the row's median, not its largest value.
            bulk = sorted(map(abs, wanted))[hidden // 2]
            same = all(abs(a - b) <= 1e-5 * max(abs(b), bulk) for a, b in zip(row, wanted))
        if not same:
            column = max(range(hidden), key=lambda c: abs(row[c] - wanted[c]))
            return f"row {number}, column {column}: {row[column]!r}, not {wanted[column]!r}"
    return ""


def check(folder: pathlib.Path, hidden: int) -> bool:
    """Decodes every frame of a folder, and says whether all are what is recorded beside them."""
    profile = Profile.read((folder / "cut.profile").read_bytes())
    frames = sorted(folder.glob("*.frame"))
    wrong = 0
    for path in frames:
        frame = path.read_bytes()
        try:
            rows = decode(frame, hidden, MAX_ROWS, profile)
            problem = difference(frame, rows, floats(path.with_suffix(".f32")), hidden)
        except FrameError as error:
            problem = str(error)
        wrong += bool(problem)
        print(f"{path.name}: {problem or 'as recorded'}")
    if wrong:
        print(f"{wrong} of {len(frames)} frames differ")
    else:
        print(f"{len(frames)} frames decoded")
    return wrong == 0 and len(frames) > 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads Tandem's frames of hidden rows.")
    parser.add_argument("frame", nargs="?", type=pathlib.Path)
    parser.add_argument("--profile", type=pathlib.Path, help="the session's profile, for format 6")
    parser.add_argument("--hidden", type=int, help="values a row; unless given, the frame's, or 75")
    parser.add_argument(
        "--check", type=pathlib.Path, metavar="FOLDER", help="of NAME.frame, NAME.f32, cut.profile"
    )
    arguments = parser.parse_args()
    if (arguments.frame is None) == (arguments.check is None):
        parser.error("one of FRAME and --check is needed")
    try:
        if arguments.check:
            return 0 if check(arguments.check, arguments.hidden or 75) else 1
        profile = arguments.profile and Profile.read(arguments.profile.read_bytes())
        print_rows(arguments.frame, profile, arguments.hidden)
    except (FrameError, OSError) as error:
        print(f"decode_frame.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
