#!/usr/bin/env python3
"""Makes the data set "what kind of thing is this word": a word and its gloss, to be answered with one of twelve kinds.

    python3 Scripts/make_kinds.py WORDNET OUTPUT

WORDNET is where Debian's package wordnet-base was unpacked (dpkg-deb -x wordnet-base_*.deb WORDNET). OUTPUT gets
train.jsonl (2,400 records), validation.jsonl (240) and WordNet's licence notice. Deterministic; standard library only.
"""
import hashlib
import json
import os
import re
import shutil
import sys

# WordNet's lexicographer files (lexnames(5WN)) of nouns, and the word that answers for each.
KINDS = {
    "05": "animal", "20": "plant", "18": "person", "13": "food", "06": "object", "15": "place",
    "08": "body", "12": "feeling", "27": "substance", "10": "language", "28": "time", "26": "state",
}
PER_KIND_TRAIN = 200
PER_KIND_VALIDATION = 20
INSTRUCTION = "What kind of thing is this? Answer with one word."
# Entries that do not belong into a demo.
UNSUITED = re.compile(
    r"slur|offensive|derog|obscene|vulgar|sexual|disparag|slang|penis|vagin|prostitut|genital|ethnic|homosex", re.I)
# Of the files, with wordnet-base 1:3.0-37 (Debian 12).
EXPECTED_SHA256 = {
    "train.jsonl": "ed12d5e2932d9234163deaa368892592bbed0361b1521b304f19e02f48de4fe0",
    "validation.jsonl": "5e4388d136c78b0dcf8d281db38cb2d6447c7631434873cfc374d585f174f291",
}


def sha256(text):
    return hashlib.sha256(text.encode())


def nouns(wordnet):
    """Yields (offset, kind's file number, first word, whole gloss) of every noun sense (wndb(5WN) tells the format)."""
    path = os.path.join(wordnet, "usr/share/wordnet/data.noun")
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("  "):  # the licence
                continue
            data, gloss = line.rstrip().split(" | ", 1)
            fields = data.split(" ")
            yield fields[0], fields[1], fields[4].replace("_", " "), gloss


def definition(gloss):
    """The gloss without its example sentences."""
    return re.split(r';\s*"', gloss)[0].strip(" ;")


def records(wordnet):
    """The chosen records in their final order, and how many of the first are for validation."""
    by_kind = {kind: [] for kind in KINDS.values()}
    for offset, file_number, word, gloss in nouns(wordnet):
        meaning = definition(gloss)
        if file_number not in KINDS or not 25 <= len(meaning) <= 120 or UNSUITED.search(gloss + word):
            continue
        # A hash chooses and orders: no generator whose stream could change.
        by_kind[KINDS[file_number]].append((sha256(offset + word).hexdigest(), word, meaning))
    chosen = []
    for kind, candidates in by_kind.items():
        for key, word, meaning in sorted(candidates)[:PER_KIND_TRAIN + PER_KIND_VALIDATION]:
            record = {"instruction": INSTRUCTION, "input": f"{word}: {meaning}", "output": kind}
            chosen.append((sha256(key + "order").digest(), record))
    chosen.sort(key=lambda pair: pair[0])
    return [record for _, record in chosen], PER_KIND_VALIDATION * len(KINDS)


def write(folder, name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    same = sha256(text).hexdigest() == EXPECTED_SHA256[name]
    print(f"{name}: {len(rows)} records" + ("" if same else " (not those of wordnet-base 1:3.0-37)"))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wordnet, output = sys.argv[1:]
    rows, held_out = records(wordnet)
    os.makedirs(output, exist_ok=True)
    write(output, "validation.jsonl", rows[:held_out])
    write(output, "train.jsonl", rows[held_out:])
    notice = os.path.join(wordnet, "usr/share/doc/wordnet-base/copyright")
    shutil.copyfile(notice, os.path.join(output, "LICENCE.WordNet"))


if __name__ == "__main__":
    main()
