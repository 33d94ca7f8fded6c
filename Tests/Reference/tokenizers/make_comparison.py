"""Trains tokenizers of every family on real text, and writes what their libraries make of 10,000 lines: for `make prove` (tokenizers).

    pip install tokenizers sentencepiece django
    python Tests/Reference/tokenizers/make_comparison.py OUTPUT [--lines N] [--only NAME] [--reuse]

A folder for each: tokenizer.json (or tokenizer.model) and expected.jsonl (text, ids, byte ranges, decoded text); time_library.py times the
libraries on it. The text: Django's translations into about 90 languages, Python sources of the installed packages,
Unicode's test files where the system has them, lines of odd white space, emoji and special tokens inside of text.
"""
import argparse, base64, glob, json, os, random, re, struct, sysconfig, time
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

parser = argparse.ArgumentParser()
parser.add_argument("output")
parser.add_argument("--lines", type=int, default=10_300)
parser.add_argument("--only")
parser.add_argument("--reuse", action="store_true", help="tokenizers that the folder holds are not trained again")
options = parser.parse_args()
chance = random.Random(5)
site = sysconfig.get_paths()["purelib"]


def translations():
    import django
    lines = []
    for path in sorted(glob.glob(os.path.join(os.path.dirname(django.__file__), "conf/locale/*/LC_MESSAGES/*.po"))
                       + glob.glob(os.path.join(os.path.dirname(django.__file__), "contrib/*/locale/*/LC_MESSAGES/*.po"))):
        for text in re.findall(r'^(?:msgstr(?:\[\d\])?|) ?"(.+)"$', open(path, encoding="utf8").read(), re.M):
            try: lines.append(json.loads('"' + text + '"'))
            except ValueError: pass
    return lines


def sources():
    lines = []
    for path in sorted(glob.glob(os.path.join(site, "**/*.py"), recursive=True))[:1500]:
        try: text = open(path, encoding="utf8").read()
        except (OSError, UnicodeDecodeError): continue
        blocks = text.split("\n\n")
        lines += [block for block in blocks if 5 < len(block) < 400]
    return lines


def unicode_tests():
    lines = []
    for name in ("NormalizationTest.txt", "emoji/emoji-test.txt", "auxiliary/GraphemeBreakTest.txt"):
        for path in ("/usr/share/unicode/" + name, "/usr/share/unicode/" + os.path.basename(name), "/usr/share/unicode/emoji/" + os.path.basename(name)):
            if os.path.exists(path):
                rows = [row for row in open(path, encoding="utf8") if row[0] not in "#@\n"]
                for row in rows:
                    hexes = re.findall(r"\b[0-9A-F]{4,6}\b", row.split(";")[0] if ";" in row else row.split("#")[0])
                    text = "".join(chr(int(h, 16)) for h in hexes if not 0xD800 <= int(h, 16) < 0xE000)
                    lines.append(text)
                    lines.append(row.strip())
                break
    return lines


spaces = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\u00a0", "\u3000", "\u2009", "\u200b", "\u2028", "\u0085", "\u180e", " \n ", "\u2581", "    ", "\ufeff"]
odd = ["'s", "'LL", "don't", "I'VE", "'ſ", "e\u0301", "🚀", "👩‍👩‍👧", "½", "Ⅷ", "٣٤", "１２", "12345678", "ﬁ", "ﷺ", "µ", "𝔘𝔫𝔦", "\x00", "\x7f", "#!/", "://", "ABCdef", "HTTPServer", "<0x0A>",
       "İ", "ß", "ǅ", "กำ", "한국어", "각", "日本語", "中文字符", "हिन्दी", "עברית", "\u202e", "̈", "``", "_", "$5.00", "a_b", "\u0378", "𞤀", "…", "—", "newword", "Xnewword"]


def noise(lines):
    result = []
    for _ in range(len(lines)):
        parts = []
        for _ in range(chance.randrange(1, 7)):
            kind = chance.random()
            if kind < 0.35: parts.append(chance.choice(lines)[:chance.randrange(1, 60)])
            elif kind < 0.7: parts.append(chance.choice(odd))
            elif kind < 0.95: parts.append(chance.choice(spaces))
            else: parts.append(chance.choice(["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<left>", "<right>", "<unk>", "oneword"]))
        result.append("".join(parts))
    return result


texts, code, uni = translations(), sources(), unicode_tests()
chance.shuffle(texts)
chance.shuffle(code)
chance.shuffle(uni)
training = texts[:60_000] + code[:25_000] + uni[:3_000]
count = options.lines
lines = texts[-count * 4 // 10:] + code[-count * 3 // 10:] + uni[-count // 10:]
lines += noise(lines)[:count - len(lines)]
chance.shuffle(lines)
lines = [line for line in lines if line.strip()]
print(len(training), "lines to train on,", len(lines), "lines to compare,", sum(len(line.encode()) for line in lines), "bytes")

TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
def cased(tail, numbers):
    return (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{tail}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{tail}|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K, TEKKEN = cased(CONTRACTIONS + "?", r"\p{N}{1,3}"), cased("", r"\p{N}")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^""" + "\r\n" + r"""\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[""" + "\r\n" + r"""]*|\s*[""" + "\r\n" + r"""]+|\s+(?!\S)|\s+"""]
raw = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
split = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
added = [AddedToken("<|im_start|>", special=True, normalized=False), AddedToken("<|im_end|>", special=True, normalized=False),
         AddedToken("<left>", special=True, normalized=False, lstrip=True), AddedToken("<right>", special=True, normalized=False, rstrip=True),
         AddedToken("oneword", special=False, normalized=False, single_word=True), AddedToken("newword", special=False, normalized=True)]


def byte_level(pre, normalizer=None, ignore_merges=False, vocabulary=16_000, post=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    if normalizer: tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(training, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(added)
    tokenizer.post_processor = post or processors.ByteLevel(trim_offsets=False)
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = ignore_merges
    return json.dumps(data, ensure_ascii=False)


pieces_cache = None
def scalars(normalizer, pre, strips):
    """SentencePiece-like byte-pair model over scalars, with byte fallback."""
    global pieces_cache
    if pieces_cache is None:
        trained = Tokenizer(models.BPE())
        trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        trained.train_from_iterator(training, trainers.BpeTrainer(vocab_size=16_000, limit_alphabet=1500, show_progress=False))
        pieces_cache = json.loads(trained.to_str())["model"]
    vocabulary = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)] + [t for t in pieces_cache["vocab"]]
    merges = [tuple(pair) for pair in pieces_cache["merges"]] + [("▁", "▁"), ("▁▁", "▁▁")]
    vocabulary += [t for t in ("▁▁", "▁▁▁▁") if t not in pieces_cache["vocab"]]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if normalizer: tokenizer.normalizer = normalizer
    if pre: tokenizer.pre_tokenizer = pre
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if strips else [])
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens(added)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer.to_str()


def sentencepiece_model(folder, kind, **settings):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "training.txt")
    open(path, "w", encoding="utf8").write("\n".join(line.replace("\n", " ").replace("\x00", "") for line in training[:40_000]))
    sentencepiece.SentencePieceTrainer.train(
        input=path, model_prefix=os.path.join(folder, "tokenizer"), vocab_size=12_000, model_type=kind, character_coverage=0.998, num_threads=2,
        minloglevel=2, user_defined_symbols=["<tool>", "▁▁"] if kind == "bpe" else ["<tool>"], **settings)
    os.remove(path)
    os.remove(os.path.join(folder, "tokenizer.vocab"))
    return os.path.join(folder, "tokenizer.model")


def protobuf(data):
    """(field, value) of a message: integers, bytes, 4-byte and 8-byte values."""
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


def unigram(model_path, normalizers_before, pre, post=None, decoder=None):
    message = list(protobuf(open(model_path, "rb").read()))
    pieces = []
    for field, value in message:
        if field == 1:
            piece = dict(protobuf(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0]))
    charsmap = dict(protobuf(next(value for field, value in message if field == 3)))[2]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Sequence(normalizers_before + [normalizers.Precompiled(bytes(charsmap))])
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder or decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens(added)
    if post: tokenizer.post_processor = post
    return tokenizer.to_str()


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(training[:30_000], trainers.WordPieceTrainer(vocab_size=8_000, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer.to_str()


def clip():
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True), raw])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(training[:30_000], trainers.BpeTrainer(
        vocab_size=8_000, end_of_word_suffix="</w>", special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.RobertaProcessing(("<|endoftext|>", 0), ("<|endoftext|>", 0), trim_offsets=True, add_prefix_space=False)
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    return tokenizer.to_str()


sp_folder = lambda name: os.path.join(options.output, name)
made = {}
def unigram_model():
    if "unigram" not in made: made["unigram"] = sentencepiece_model(sp_folder("sentencepiece-unigram"), "unigram")
    return made["unigram"]

ROBERTA = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=True, add_prefix_space=True)
T5 = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
plus = lambda *steps: pre_tokenizers.Sequence(list(steps))
builders = {
    "llama3": lambda: byte_level(plus(split(LLAMA3), raw), ignore_merges=True),
    "qwen2": lambda: byte_level(plus(split(QWEN2), raw), normalizers.NFC()),
    "qwen35": lambda: byte_level(plus(split(QWEN35), raw), normalizers.NFC()),
    "gpt4o": lambda: byte_level(plus(pre_tokenizers.Split(Regex(O200K), "removed", invert=True), raw)),
    "tekken": lambda: byte_level(plus(split(TEKKEN), raw), ignore_merges=True),
    "deepseek": lambda: byte_level(plus(*map(split, DEEPSEEK), raw)),
    "smollm": lambda: byte_level(plus(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False))),
    "gpt2-trimmed": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), post=ROBERTA),
    "falcon": lambda: byte_level(plus(pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                                      pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]"))),
    "expression": lambda: byte_level(plus(split(r"\d{1,3}(?=(?:\d{3})*\b)"), split(r"[A-Z]?[a-zà-ÿ]+|[A-Z]+(?![a-z])|\w+|\s?[^\w\s]{1,4}+|\s+(?!\S)|\s"), raw)),
    "behaviours": lambda: byte_level(plus(pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Split(Regex(r"[,.;:!?]"), "merged_with_previous"),
                                          pre_tokenizers.Split(Regex(r"\p{Lu}"), "contiguous"), pre_tokenizers.Split("_", "removed"), raw)),
    "llama2": lambda: scalars(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, True),
    "mistral": lambda: scalars(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), True),
    "gemma": lambda: scalars(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), False),
    "metaspace": lambda: scalars(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="always"), True),
    "t5": lambda: unigram(unigram_model(), [], pre_tokenizers.Metaspace(), T5),
    "xlm-roberta": lambda: unigram(unigram_model(), [], plus(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()), ROBERTA),
    "albert": lambda: unigram(unigram_model(), [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                                normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), "▁")], pre_tokenizers.Metaspace(), ROBERTA),
    "bert": bert,
    "clip": clip,
    "sentencepiece-unigram": lambda: unigram_model(),
    "sentencepiece-bpe": lambda: sentencepiece_model(
        sp_folder("sentencepiece-bpe"), "bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True),
    "sentencepiece-nfkc": lambda: sentencepiece_model(sp_folder("sentencepiece-nfkc"), "bpe", normalization_rule_name="nmt_nfkc_cf"),
}


for name, build in builders.items():
    if options.only and name != options.only: continue
    folder = os.path.join(options.output, name)
    os.makedirs(folder, exist_ok=True)
    start = time.time()
    file = os.path.join(folder, "tokenizer.model" if name.startswith("sentencepiece") else "tokenizer.json")
    if options.reuse and os.path.exists(file): result = file if file.endswith("model") else open(file, encoding="utf8").read()
    else: result = build()
    rows = []
    if name.startswith("sentencepiece"):
        model = sentencepiece.SentencePieceProcessor(model_file=result)
        usable = [line for line in lines if "\x00" not in line]
        # The library knows no special tokens in texts, and writes U+2047 for unknown ones.
        for line in usable:
            ids = model.encode(line)
            rows.append(dict(text=line, ids=ids, parse_special=False) | ({} if 0 in ids else dict(decoded=model.decode(ids))))
    else:
        open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf8").write(result)
        tokenizer = Tokenizer.from_str(result)
        for line in lines:
            encoding = tokenizer.encode(line, add_special_tokens=False)
            at = [0]
            for character in line: at.append(at[-1] + len(character.encode()))
            decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False) if encoding.ids else ""
            rows.append(dict(text=line, ids=encoding.ids, ranges=[at[bound] for offsets in encoding.offsets for bound in offsets], decoded=decoded))
    with open(os.path.join(folder, "expected.jsonl"), "w", encoding="utf8") as file:
        for row in rows: file.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(f"{name}: {len(rows)} lines, made in {time.time() - start:.0f} s", flush=True)
