"""Tests of the GGUF import on small files made here with gguf's own writer."""
