#!/usr/bin/env python3
"""Makes the data set "write one shell command for this task" from two collections of examples on PyPI (both MIT-licensed).

    python3 Scripts/make_shell.py SDISTS OUTPUT

SDISTS holds cheat-2.5.1.tar.gz and eg-1.2.3.tar.gz (pip download --no-deps --no-binary cheat,eg cheat==2.5.1 eg==1.2.3).
OUTPUT gets train.jsonl (1,260 records), validation.jsonl (140) and both licences. Deterministic; standard library only.
"""
import hashlib
import json
import os
import re
import sys
import tarfile

INSTRUCTION = "Write one shell command for this task."
ARCHIVES = {"cheat": "cheat-2.5.1.tar.gz", "eg": "eg-1.2.3.tar.gz"}
# Sheets that are not about shell commands, or about breaking into machines.
UNSUITED_SHEETS = {
    "sqlmap", "nmap", "aircrack-ng", "r2", "hashcat", "markdown", "ansi", "emacs", "vim", "irssi", "mutt", "asterisk",
    "python", "readline", "org-mode", "for", "InDesign", "indesign", "smbclient",
}
# Nothing destructive in a demo.
DESTRUCTIVE = re.compile(r"rm -rf?\b|shred|mkfs|of=/dev/|Ctrl|sgdisk|\bwipe")
# Sentences that are no task.
NO_TASK = re.compile(r"^(e\.?g|example|note|see|or|usage|source|http|this|it|these|for example)\b", re.I)
EXPECTED_SHA256 = {
    "train.jsonl": "cb621c0b6b47ea02bd6a814bd71c12de591c95e58437e51bee6ed547e3e8ab8e",
    "validation.jsonl": "a34310ac465fc70abb81d3d1289867583aadbc5b086961a0e7663f70b26d7cfb",
}


def files_of(archive):
    """Yields (name, text) of an sdist's files, by name."""
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if member.isfile():
                yield member.name, tar.extractfile(member).read().decode("utf-8", "replace")


def cheat_pairs(archive):
    """`# what it does`, then exactly one command line."""
    for name, text in files_of(archive):
        if "/cheatsheets/" not in name or os.path.basename(name) in UNSUITED_SHEETS or name.endswith(".py"):
            continue
        lines = text.splitlines() + [""]
        for above, line, below, before in zip(lines, lines[1:], lines[2:], [""] + lines):
            comment_is_single = above.startswith("#") and not before.startswith("#")
            is_command = line.strip() and line[0] not in "#-* "
            if comment_is_single and is_command and (not below.strip() or below.startswith("#")):
                yield above.lstrip("# "), line.strip()


def eg_pairs(archive):
    """A paragraph of one line, then an indented block of one command (or a session whose first line is one)."""
    for name, text in files_of(archive):
        if not re.search(r"/examples/.*\.md$", name):
            continue
        for match in re.finditer(r"(?:^|\n\n)([^\n#]+)\n\n((?:    [^\n]*\n)+)", text):
            block = [line.strip() for line in match[2].splitlines()]
            if block[0].startswith("$ "):
                yield match[1], block[0][2:]
            elif len(block) == 1:
                yield match[1], block[0]


def record(task, command):
    """The record of a pair and what makes it unique; None where it is not fit for the set."""
    task = re.sub(r"\s+", " ", task.replace("`", "")).strip(" :.-")
    task = re.sub(r"^To ", "", task)
    command = re.sub(r"^[$%#>] ", "", command).strip()
    words = [word for word in command.split() if "=" not in word and word not in ("sudo", "watch", "time", "nohup")]
    if not words or not re.fullmatch(r"[\w.+-]+", words[0]):
        return None
    if not 6 <= len(task) <= 110 or not 2 <= len(command) <= 110:
        return None
    if not re.match(r"[A-Za-z]", task) or NO_TASK.search(task) or "->" in command or DESTRUCTIVE.search(command):
        return None
    if not task[:2].isupper():
        task = task[0].lower() + task[1:]
    row = {"instruction": INSTRUCTION, "input": f"Using {words[0]}: {task}", "output": command}
    return (words[0], task.lower()), row


def records(sdists):
    pairs = list(cheat_pairs(os.path.join(sdists, ARCHIVES["cheat"]))) + list(eg_pairs(os.path.join(sdists, ARCHIVES["eg"])))
    rows = {}
    for task, command in pairs:
        made = record(task, command)
        if made:
            rows.setdefault(*made)  # the first of equals stays
    # A hash orders: no generator whose stream could change.
    return sorted(rows.values(), key=lambda row: hashlib.sha256((row["input"] + row["output"]).encode()).hexdigest())


def write(folder, name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    same = hashlib.sha256(text.encode()).hexdigest() == EXPECTED_SHA256[name]
    print(f"{name}: {len(rows)} records" + ("" if same else " (not those of cheat 2.5.1 and eg 1.2.3)"))


def copy_licences(sdists, folder):
    for package, archive in ARCHIVES.items():
        for name, text in files_of(os.path.join(sdists, archive)):
            if re.fullmatch(r"[^/]+/(LICEN[CS]E|COPYING|PKG-INFO)[^/]*", name):
                with open(os.path.join(folder, f"{os.path.basename(name)}.{package}"), "w", encoding="utf-8") as file:
                    file.write(text)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sdists, output = sys.argv[1:]
    rows = records(sdists)
    held_out = len(rows) // 10
    os.makedirs(output, exist_ok=True)
    write(output, "validation.jsonl", rows[:held_out])
    write(output, "train.jsonl", rows[held_out:])
    copy_licences(sdists, output)


if __name__ == "__main__":
    main()
