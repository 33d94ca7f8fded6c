#!/usr/bin/env python3
"""Writes the notebooks and the script of notebooks/ from their one source, notebooks/source.py.

    python3 Scripts/make_notebooks.py           writes them
    python3 Scripts/make_notebooks.py --check   exits 1 where one is not what the source says
"""
import json
import os
import re
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "notebooks")
SCRIPT_HEAD = '''"""QLoRA fine-tuning in one free Kaggle session: paste this into a cell, set MODEL, DATA and OUTPUT, and run it.

The same steps as kaggle_free_tier_qlora.ipynb; written from source.py by Scripts/make_notebooks.py. docs/kaggle.md says what to attach.
"""
'''


def cells(text):
    """The source's cells: whether it is text, where it belongs, its tags and its lines."""
    result = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        result.append({
            "text": "[markdown]" in head, "places": set(re.findall(r"\{(\w+)\}", head)), "tags": re.findall(r"tags=(\w+)", head),
            "lines": body.strip("\n").split("\n"),
        })
    return result


def uncommented(lines):
    return [re.sub(r"^# ?", "", line) for line in lines]


def notebook(source, place, accelerator):
    """A notebook without outputs, in format 4.5."""
    made = []
    for number, cell in enumerate(cell for cell in source if not cell["places"] or cell["places"] & {place, "notebook"}):
        lines = uncommented(cell["lines"]) if cell["text"] else cell["lines"]
        entry = {
            "cell_type": "markdown" if cell["text"] else "code", "id": "cell-%02d" % number,
            "metadata": {"tags": cell["tags"]} if cell["tags"] else {},
            "source": [line + "\n" for line in lines[:-1]] + lines[-1:],
        }
        if not cell["text"]:
            entry.update(execution_count=None, outputs=[])
        made.append(entry)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"},
        place: accelerator,
    }
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def script(source):
    """Kaggle's cells as one file: headings are comments, other text is left out."""
    parts = [SCRIPT_HEAD]
    for cell in source:
        if cell["places"] and "kaggle" not in cell["places"]:
            continue
        if cell["text"]:
            parts += ["# " + line.lstrip("# ") + "\n" for line in uncommented(cell["lines"]) if line.startswith("## ")]
        else:
            parts.append("\n".join(cell["lines"]) + "\n\n")
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def main():
    with open(os.path.join(FOLDER, "source.py"), encoding="utf-8") as file:
        source = cells(file.read())
    made = {
        "kaggle_free_tier_qlora.ipynb": notebook(
            source, "kaggle", {"accelerator": "nvidiaTeslaT4", "isGpuEnabled": True, "isInternetEnabled": True, "language": "python", "sourceType": "notebook"}),
        "kaggle_free_tier_qlora_script.py": script(source),
        "colab_qlora.ipynb": notebook(source, "colab", {"gpuType": "T4", "provenance": []}),
    }
    status = 0
    for name, text in made.items():
        path = os.path.join(FOLDER, name)
        if "--check" in sys.argv[1:]:
            with open(path, encoding="utf-8") as file:
                if file.read() != text:
                    print("%s is not what notebooks/source.py says: run python3 Scripts/make_notebooks.py" % name)
                    status = 1
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
