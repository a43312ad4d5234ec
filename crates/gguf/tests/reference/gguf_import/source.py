"""A GGUF file as the rest of the import wants to see it: typed metadata, tensors by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf

REQUIRED = object()
"""Marks a metadata key that has no default."""


class Refused(Exception):
    """The file cannot be imported; the message names what stands in the way."""


class Source:
    """An open GGUF file. `tensors` maps GGUF names to `gguf.ReaderTensor`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise Refused(f"{path}: no such file")
        try:
            reader = gguf.GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
            raise Refused(f"{path}: not a whole GGUF file (truncated or damaged?): {error}") from error
        if reader.byte_order != "I":
            raise Refused(f"{path}: byte order differs from this machine's; convert it with gguf's gguf_convert_endian")
        self._fields = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        if len(self.tensors) != len(reader.tensors):
            raise Refused(f"{path}: two tensors have the same name")
        self.architecture: str = self.get("general.architecture", kind=str)

    def has(self, key: str) -> bool:
        return key in self._fields

    def get(self, key: str, default: Any = REQUIRED, kind: type | None = None) -> Any:
        """The value under `key`, checked to be of `kind` where one is given."""
        if key not in self._fields:
            if default is REQUIRED:
                raise Refused(f"{self.path}: the metadata has no {key}")
            return default
        value = self._fields[key].contents()
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise Refused(f"{self.path}: {key} is {value!r}, expected {kind.__name__}")
        return value

    def of_architecture(self, key: str, default: Any = REQUIRED, kind: type | None = None) -> Any:
        """The value under `<architecture>.<key>`."""
        return self.get(f"{self.architecture}.{key}", default, kind)

    def under(self, prefix: str) -> dict[str, Any]:
        """Every key that starts with `prefix`, with its value."""
        return {key: field.contents() for key, field in self._fields.items() if key.startswith(prefix)}
