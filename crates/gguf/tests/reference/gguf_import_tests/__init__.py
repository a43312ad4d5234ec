"""Tests of import-gguf on small files made here: against the formats' definitions, and against the reference."""
