"""Writes Sources/CText/classes.txt: the class of every character as the reference library's regular expressions see it.

An entry is `START+COUNT=CLASS` in hex, of the numbers of `CharacterClass` (Sources/Tokenizers/BytePair/CharacterClasses.swift); what is
left out is class 0.

    pip install tokenizers
    python3 Scripts/make_character_classes.py
"""
import os
from tokenizers import Regex, pre_tokenizers

CLASSES = [(1, r"[\p{P}\p{S}]"), (2, r"\p{M}"), (3, r"[\r\n]"), (4, r"[^\S\r\n]"), (5, r"[\p{Nl}\p{No}]"), (6, r"\p{Nd}"), (7, r"[\p{Lu}\p{Lt}]"),
           (8, r"\p{Ll}"), (9, r"[\p{Lm}\p{Lo}]")]
characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
classes = {}
for number, expression in CLASSES:
    split = pre_tokenizers.Split(Regex(expression), "removed", invert=True)
    for start in range(0, len(characters), 4096):
        for text, _ in split.pre_tokenize_str("".join(characters[start:start + 4096])):
            for character in text: classes[ord(character)] = number
entries, code = [], 0
while code < 0x110000:
    number, start = classes.get(code, 0), code
    while code < 0x110000 and classes.get(code, 0) == number: code += 1
    if number: entries.append("%X+%X=%X" % (start, code - start, number))
lines, current = [], ""
for entry in entries:
    if len(current) + len(entry) + 1 > 120: lines.append(current); current = ""
    current += (" " if current else "") + entry
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(os.path.join(root, "Sources/CText/classes.txt"), "w") as file: file.write("\n".join(lines + [current]) + "\n")
print(len(entries), "ranges")
