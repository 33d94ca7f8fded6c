"""Writes ranges.json: the byte ranges (start, end, start, …) that Hugging Face's library gives to the tokens of ids.json's texts.

    pip install tokenizers
    python make_ranges.py
"""
import json, os
from tokenizers import Tokenizer

here = os.path.dirname(os.path.abspath(__file__))
expected = json.load(open(os.path.join(here, "ids.json"), encoding="utf8"))
ranges = {}
for kind, rows in expected["ids"].items():
    tokenizer = Tokenizer.from_file(os.path.join(here, "tokenizers", kind + ".json"))
    ranges[kind] = []
    for text, ids in zip(expected["texts"], rows):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        assert encoding.ids == ids
        at = [0]
        for character in text: at.append(at[-1] + len(character.encode()))
        ranges[kind].append([at[bound] for offsets in encoding.offsets for bound in offsets])
json.dump(ranges, open(os.path.join(here, "ranges.json"), "w"), separators=(",", ":"))
