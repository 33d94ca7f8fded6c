"""Times a library on a folder that make_comparison.py wrote, for Tests/TokenizersTests/ComparisonTests.swift, which runs it beside its own passes.

    python Tests/Reference/tokenizers/time_library.py FOLDER

Prints the library's name. Then every line of standard input starts a pass over all lines of the folder's text, each line encoded by itself;
the processor time of the pass is printed in seconds. One thread.
"""
import json, os, sys, time
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

folder = sys.argv[1]
lines = [json.loads(row)["text"] for row in open(os.path.join(folder, "expected.jsonl"), encoding="utf8")]
if os.path.exists(os.path.join(folder, "tokenizer.json")):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    run, library = (lambda line: tokenizer.encode(line, add_special_tokens=False)), "tokenizers"
else:
    import sentencepiece
    run, library = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model")).encode, "sentencepiece"
print(library, flush=True)
for _ in sys.stdin:
    start = time.process_time()
    for line in lines: run(line)
    print(time.process_time() - start, flush=True)
