#!/usr/bin/env python3
"""Makes tests/fixtures: tiny random checkpoints with Hugging Face transformers' results, and rendered chat templates.

    python3 -m venv /tmp/fixtures && /tmp/fixtures/bin/pip install -r scripts/make-fixtures.requirements.txt
    /tmp/fixtures/bin/python scripts/make-fixtures.py            write everything, check it, print the mutation table
    /tmp/fixtures/bin/python scripts/make-fixtures.py --verify   write nothing: recompute the committed references

Everything is drawn from fixed seeds: on one machine with the same versions the bytes come out the same. Another
processor may round the references differently in their last bits; --verify allows for that. --verify also runs
under transformers 4, where it leaves out the checkpoints whose config.json has the transformers 5 form.

A run that writes fails when a checkpoint cannot tell a right implementation from a wrong one, see
tests/fixtures/README.md.
"""

import argparse
import os
import sys
from pathlib import Path

# Both are read when the libraries are imported.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
sys.dont_write_bytecode = True
sys.path.insert(0, str(FIXTURES))

import torch  # noqa: E402

from generator import chat_templates, checkpoints, mutations, reference, tokenizer  # noqa: E402


def write() -> None:
    rows = []
    for checkpoint in checkpoints.ALL:
        folder = FIXTURES / "models" / checkpoint.name
        checkpoints.write(checkpoint, folder)
        tokenizer.write(checkpoint.tokenizer, folder)
        result = reference.compute(folder, checkpoint.input_ids())
        reference.check(checkpoint.name, folder, result)
        reference.save(folder, result)
        rows += mutations.measure(checkpoint.name, folder, result)
    checkpoints.write_twin_config(FIXTURES / "models")
    reference.check_twin(FIXTURES / "models", checkpoints.TWIN, checkpoints.TWIN_OF)
    chat_templates.write(FIXTURES / "chat_templates")
    table = mutations.table(rows)
    (FIXTURES / "mutations.md").write_text(table, encoding="utf-8")
    print(table)
    mutations.require_all_visible(rows)


def verify() -> None:
    for checkpoint in checkpoints.ALL:
        reference.verify(checkpoint.name, FIXTURES / "models" / checkpoint.name)
    chat_templates.verify(FIXTURES / "chat_templates")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verify", action="store_true", help="recompute the committed references, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    verify() if arguments.verify else write()


if __name__ == "__main__":
    main()
