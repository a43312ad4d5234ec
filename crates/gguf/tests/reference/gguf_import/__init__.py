"""Turns one GGUF file into a Hugging Face model directory, on PyPI's `gguf`: what the tests compare
tandem-gguf with.

The order of the work is the order of the modules: `source` opens the file,
`architecture` (with `rope`) reads its metadata into config.json, `weights`
plans which tensor becomes which, `vocabulary` rebuilds tokenizer.json, and
`directory` writes everything aside and renames it into place.
"""
