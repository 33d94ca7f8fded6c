"""Writes tokenizers/*.json, tiny tokenizers of every supported kind, and ids.json, what Hugging Face's library makes of texts.

    pip install tokenizers
    python make_tokenizers.py
"""
import json, os, random, unicodedata
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

here = os.path.dirname(os.path.abspath(__file__))
chance = random.Random(1)
corpus = [open(os.path.join(here, name), encoding="utf8").read() for name in ("make_templates.py", "make_tokenizers.py")]
corpus += ["The parrot said that it wasn't the parrot's fault, and they'll see 1234567 parrots in 2024. "
           "Grüße aus Zürich! Привет, мир, привет. 你好世界 你好 こんにちは café naïve élan vital\n\n  indented  text\tand tabs\r\n" * 3]
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
added = [AddedToken("<|im_start|>", special=True, normalized=False), AddedToken("<|im_end|>", special=True, normalized=False),
         AddedToken("<|im_end|>!", special=True, normalized=False), AddedToken("<tool>", special=False, normalized=False),
         AddedToken("<left>", special=True, normalized=False, lstrip=True), AddedToken("<right>", special=True, normalized=False, rstrip=True),
         AddedToken("parrotword", special=False, normalized=False, single_word=True)]
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
kinds = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "gpt2-prefix": pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]),
    "llama3": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(HEAD + "{1,3}" + TAIL), "isolated"), byte_level]),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(HEAD + TAIL), "isolated"), byte_level]),
}
for name, pre in kinds.items():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen2": tokenizer.normalizer = normalizers.NFC()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=520, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(added)
    tokenizer.add_special_tokens([a for a in added if a.special])
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = name == "llama3"
    if name == "llama3":  # words in the vocabulary that no merge reaches
        for word in ("Ġwasn", "Ġfault", "WORLD"):
            data["model"]["vocab"][word] = len(data["model"]["vocab"])
            for token in data["added_tokens"]: token["id"] += 1
    if name == "gpt2": data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]  # the older form
    json.dump(data, open(os.path.join(here, "tokenizers", name + ".json"), "w"), ensure_ascii=False)

# SentencePiece's kind: the whole text is one word, unknown scalars fall back to bytes.
trained = Tokenizer(models.BPE())
trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
trained.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, show_progress=False))
model = json.loads(trained.to_str())["model"]
vocabulary = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
vocabulary += [token for token in model["vocab"] if token not in "你好\n\r"]
merges = [pair for pair in model["merges"] if all(part in set(vocabulary) for part in (*pair, "".join(pair)))]
spaces = [["▁", "▁"], ["▁▁", "▁▁"]]
vocabulary += ["".join(pair) for pair in spaces]
sentencepiece = {
    "llama2": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "gemma": (normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
    "metaspace-first": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
}
for name, (normalizer, pre) in sentencepiece.items():
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(vocabulary)}, [tuple(pair) for pair in merges + spaces],
                                     byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if normalizer: tokenizer.normalizer = normalizer
    if pre: tokenizer.pre_tokenizer = pre
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps if name == "gemma" else steps + [decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")])
    tokenizer.save(os.path.join(here, "tokenizers", name + ".json"), pretty=False)

assigned = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
common = list(" \n\t\r'.,!?-_ aeioust0123\u00a0\u3000éßñ½²٣你世кир") + ["'s", "'LL", "'ſ", "  ", "\n\n", " 12", "parrot", "e\u0301", "🚀"]
texts = ["", " ", "  ", "\n", "\r\n", "a", " a", "  a", "a  ", "a \n b", "\n\n\nx\n \n  y", "I'm sure they'll say it's what we've DON'T I'VE x'ſ 're'",
         "12345 1234 1 22 333 a1b22 ٣٤٥ Ⅷ½²", " 1  2   3\t4", "foo_bar-baz(qux[1:2]) == != // https://a.b/c?d=e", "Grüße, Привет 你好,世界。 🚀👩‍👩‍👧 ½ ﷺ e\u0301 \u1100\u1161\u11a8",
         "<|im_start|>user\nHi<|im_end|>!\n<|im_end|> ! <tool> a <left> b  <left>  <right>  c <right>\n\n<|im_end", "parrotword parrotwords xparrotword parrotword.", "<s>Hi</s> there <unk>x",
         "  lead", "trail  ", "a\u00a0b\u3000c\u2028d\u0085e", "'s't'm'd're've'll", "''s '' 's ''", "\u200b\u200d\ufeffx", "a" * 200, " " * 70, "parrot " * 30, "ab" * 90, "\x00\x01\x7f", "WORLD wasn fault wasn't fault", "ſ 'S 'T 'RE"]
for _ in range(60): texts.append("".join(chance.choice(common) for _ in range(chance.randrange(1, 30))))
for _ in range(40): texts.append("".join(chance.choice(assigned) if chance.random() < 0.5 else chance.choice(common) for _ in range(chance.randrange(1, 20))))
ids, decoded = {}, {}
for name in [*kinds, *sentencepiece]:
    tokenizer = Tokenizer.from_file(os.path.join(here, "tokenizers", name + ".json"))
    ids[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    decoded[name] = [tokenizer.decode(row, skip_special_tokens=True) for row in ids[name]]
with open(os.path.join(here, "ids.json"), "w", encoding="utf8") as file:
    file.write(json.dumps(dict(texts=texts, ids=ids, decoded=decoded), ensure_ascii=False).replace('"], "', '"],\n"') + "\n")
print(len(texts), "texts,", len(ids), "tokenizers")
