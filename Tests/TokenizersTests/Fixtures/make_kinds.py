"""Writes kinds/*, small tokenizers of the families and of every step that a tokenizer.json may have, and kinds.json: ids, byte ranges and
decoded texts of their libraries.

    pip install tokenizers sentencepiece
    python make_kinds.py
"""
import json, os, random, struct, unicodedata
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, "kinds")
os.makedirs(folder, exist_ok=True)
chance = random.Random(3)
corpus = [open(os.path.join(here, name), encoding="utf8").read() for name in ("make_templates.py", "make_tokenizers.py", "make_kinds.py")]
corpus += ["The parrot said that it wasn't the parrot's fault, and they'll see 1234567 parrots in 2024. HTTPServer getURLs "
           "Grüße aus Zürich! Привет, мир, привет. 你好世界 你好 こんにちは カタカナ café naïve élan vital हिन्दी 한국어\n\n  indented  text\tand tabs\r\n" * 3]
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
def cased(tail, numbers):
    return (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{tail}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{tail}|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
raw = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
added = [AddedToken("<|end|>", special=True, normalized=False), AddedToken("<left>", special=True, normalized=False, lstrip=True),
         AddedToken("<right>", special=True, normalized=False, rstrip=True), AddedToken("parrotword", special=False, normalized=False, single_word=True),
         AddedToken("newword", special=False, normalized=True), AddedToken("Ünö", special=False, normalized=True, single_word=True)]


def byte_level(pre, normalizer=None, post=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre
    if normalizer: tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    suffix = {key: value for key, value in model.items() if key == "end_of_word_suffix"}
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, **suffix))
    tokenizer.add_tokens(added)
    if post: tokenizer.post_processor = post
    return tokenizer


def scalars(normalizer, pre, **model):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    data = json.loads(trained.to_str())["model"]
    bytes_ = ["<0x%02X>" % byte for byte in range(256)] if model.get("byte_fallback") else []
    vocabulary = ["<unk>", "<s>", "</s>"] + bytes_ + [t for t in data["vocab"] if t not in "你好\n\r"]
    merges = [tuple(p) for p in data["merges"] if all(t in vocabulary for t in (*p, "".join(p)))] + [("▁", "▁")]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary + ["▁▁"])}, merges, unk_token="<unk>", **model))
    if normalizer: tokenizer.normalizer = normalizer
    if pre: tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens(added)
    return tokenizer


RULES = {"ﬁ": "fi", "…": "...", "１": "1", "２": "2", "ｶ": "カ", "　": " ", "\t": " ", "e\u0301": "é", "½": "1⁄2", "\u200b": "", "㎞": "km", "﷽": "bismillah"}
def sentencepiece_model(name, kind, size, **settings):
    rules = os.path.join(folder, "rules.tsv")
    hexes = lambda text: " ".join("%X" % ord(c) for c in text)
    open(rules, "w").write("".join(f"{hexes(a)}\t{hexes(b)}\n" for a, b in RULES.items()))
    text = os.path.join(folder, "training.txt")
    open(text, "w", encoding="utf8").write("\n".join(corpus).replace("\r", ""))
    sentencepiece.SentencePieceTrainer.train(input=text, model_prefix=os.path.join(folder, name), vocab_size=size, model_type=kind, num_threads=1,
                                             minloglevel=2, normalization_rule_tsv=rules, user_defined_symbols=["<tool>", "▁▁"], **settings)
    for path in (rules, text, os.path.join(folder, name + ".vocab")): os.remove(path)
    return os.path.join(folder, name + ".model")


def protobuf(data):
    at = 0
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]; at += 1
            value |= (byte & 127) << shift; shift += 7
            if byte < 128: return value
    while at < len(data):
        key = varint()
        if key & 7 == 0: yield key >> 3, varint()
        elif key & 7 == 2:
            length = varint(); yield key >> 3, data[at:at + length]; at += length
        else:
            size = 4 if key & 7 == 5 else 8; yield key >> 3, data[at:at + size]; at += size


def unigram(normalizer_list, pre, **settings):
    message = list(protobuf(open(unigram_path, "rb").read()))
    pieces = [(p[1].decode(), struct.unpack("<f", p[2])[0]) for p in (dict(protobuf(value)) for field, value in message if field == 1)]
    charsmap = dict(protobuf(next(value for field, value in message if field == 3)))[2]
    if settings.get("byte_fallback"): pieces += [("<0x%02X>" % byte, -20.0) for byte in range(256)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, **settings))
    tokenizer.normalizer = normalizers.Sequence(normalizer_list + [normalizers.Precompiled(bytes(charsmap))])
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens(added)
    return tokenizer


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=400, limit_alphabet=90, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    return tokenizer


def words():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.CharDelimiterSplit("_"), pre_tokenizers.FixedLength(6)])
    tokenizer.train_from_iterator(corpus, trainers.WordLevelTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False))
    return tokenizer


unigram_path = sentencepiece_model("unigram", "unigram", 420, character_coverage=0.98)
bpe_path = sentencepiece_model("bpe", "bpe", 600, character_coverage=0.98, byte_fallback=True, remove_extra_whitespaces=False, split_digits=True)
plus = lambda *steps: pre_tokenizers.Sequence(list(steps))
roberta = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=True, add_prefix_space=True)
kinds = {
    "gpt4o": byte_level(plus(pre_tokenizers.Split(Regex(cased(CONTRACTIONS + "?", r"\p{N}{1,3}")), "removed", invert=True), raw)),
    "tekken": byte_level(plus(split(cased("", r"\p{N}")), raw)),
    "qwen35": byte_level(plus(split(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), raw), normalizers.NFC()),
    "deepseek": byte_level(plus(*map(split, DEEPSEEK), raw)),
    "falcon": byte_level(plus(pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]"))),
    "trimmed": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFD(), roberta),
    "expression": byte_level(plus(split(r"\d{1,3}(?=(?:\d{3})*\b)"), split(r"[A-Z]?[a-zà-ÿ&&[^xyz]]+|[A-Z]{2,4}+|\w+|\s?[^\w\s]{,4}|\h|\s+(?!\S)|\s"), raw)),
    "behaviours": byte_level(plus(pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Split(Regex(r"[,.;:!?]"), "merged_with_previous"),
                                  pre_tokenizers.Split(Regex(r"\p{Lu}"), "contiguous"), pre_tokenizers.Split("_", "removed"), raw), normalizers.Lowercase()),
    "suffix": byte_level(plus(pre_tokenizers.Split(Regex(r"'s|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True), raw),
                         normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]), end_of_word_suffix="</w>", unk_token="!"),
    "llama2": scalars(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, byte_fallback=True, fuse_unk=True),
    "metaspace": scalars(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="first"), fuse_unk=True),
    "unfused": scalars(normalizers.Strip(), pre_tokenizers.Metaspace(prepend_scheme="always"), fuse_unk=False),
    "t5": unigram([], pre_tokenizers.Metaspace()),
    "t5-bytes": unigram([], pre_tokenizers.Metaspace(split=False), byte_fallback=True),
    "albert": unigram([normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
                       normalizers.Replace(Regex(" {2,}"), "▁")], plus(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace())),
    "bert": bert(),
    "words": words(),
}
kinds["suffix"].decoder = decoders.BPEDecoder("</w>")

assigned = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co") and unicodedata.age(c) <= "9.0"] if hasattr(unicodedata, "age") else [
    c for c in map(chr, range(0x2FA20)) if unicodedata.category(c) not in ("Cn", "Cs", "Co") and unicodedata.ucd_3_2_0.category(c) != "Cn"]
common = list(" \n\t\r'.,!?-_ aeioustXYZ0123\u00a0\u3000éßñ½²٣你世кирカｶ１ﬁ") + ["'s", "'LL", "'ſ", "  ", "\n\n", " 12", "parrot", "e\u0301", "🚀", "HTTP", "▁", "ÀÉ", "\u0308", "\u200b", "한"]
texts = json.load(open(os.path.join(here, "ids.json"), encoding="utf8"))["texts"][:34] + [
    "The newword and Xnewword, newwordnewword Ünö UNÖ xÜnö Üno\u0308", " <left>  <left> <right>  <right><|end|> <|end|>x", "getHTTPResponseCode XMLHttpRequest iPhone's ABC'S ǅungla ʰªº",
    "a ｶ１２ﬁ㎞…½\u200b﷽ e\u0301 ``quote''", "12 345,678 9012345", "x=y; z!!?? a/b//\n\n/ c", "人工智能2024年カタカナひらがなabc中a", "Å\u0323 q\u0307\u0323 각 \u1112\u1161\u11ab 가\u11a8 \u0344", "\u2581a \u2581\u2581 b\u2581c",
    "<tool>x <tool> y<tool>", "İstanbul ǰ ΣΑΣ ß ŉ", "👩‍👩‍👧 🏳️‍🌈 e\u20dd", "\t \u3000 mixed \u00a0 \u2028 x ", "日本\u3099か\u3099", "aaaaaaaaaaaaaaaaaaaaaaaaaa", "......!!!!!!!!??", "a\u0300\u0301\u0316b"]
for _ in range(50): texts.append("".join(chance.choice(common) for _ in range(chance.randrange(1, 24))))
for _ in range(40): texts.append("".join(chance.choice(assigned) if chance.random() < 0.5 else chance.choice(common) for _ in range(chance.randrange(1, 14))))

expected = {}
for name, tokenizer in kinds.items():
    tokenizer.save(os.path.join(folder, name + ".json"), pretty=False)
    tokenizer = Tokenizer.from_file(os.path.join(folder, name + ".json"))
    rows = []
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        at = [0]
        for character in text: at.append(at[-1] + len(character.encode()))
        rows.append([encoding.ids, [at[bound] for offsets in encoding.offsets for bound in offsets], tokenizer.decode(encoding.ids, skip_special_tokens=False) if encoding.ids else ""])
    expected[name] = rows
for name, path in (("unigram", unigram_path), ("bpe", bpe_path)):
    model = sentencepiece.SentencePieceProcessor(model_file=path)
    expected[name] = [[model.encode(text), None, None if 0 in model.encode(text) else model.decode(model.encode(text))] if "\0" not in text else None for text in texts]
with open(os.path.join(here, "kinds.json"), "w", encoding="utf8") as file:
    file.write('{"texts":' + json.dumps(texts, ensure_ascii=False, separators=(",", ":")))
    for name, rows in expected.items(): file.write(f',\n"{name}":' + json.dumps(rows, ensure_ascii=False, separators=(",", ":")))
    file.write("}\n")
print(len(texts), "texts,", len(expected), "kinds")
