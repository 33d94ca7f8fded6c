"""What the seed's own job takes on cards that are not here: the table of README.md.

    python3 Benchmarks/plan_table.py .build/release/lorikeet FOLDER [--ways] [--quick]

Plans `full` with 474,000 + 52,000 records and `kaggle-free` with 100,000 + 10,000 for models of 1B, 3B, 7B and 8B parameters on a T4, an L4 and an A100, with
`lorikeet plan --as`. No model is fetched: a plan reads the headers of weights alone, so the folders have files of the right length without content (sparse, a
few kilobytes on the disk). Records have the lengths of scale-lengths.txt, half of each trained; the processor has four threads, as beside Kaggle's T4.
FOLDER holds models, records and the cache folder and may be used again. --ways also plans with `--session 9h` what takes longer, and prints what the
plan says is enough; --quick takes a hundredth of the records. Needs Python alone.
"""
import argparse, json, os, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Scripts"))
from make_random_model import byte_count, tensors

SHAPES = {
    "1B": dict(name="Llama 3.2 1B", hidden=2048, layers=16, heads=32, kv=8, head=64, ff=8192, vocabulary=128256, tied=True),
    "3B": dict(name="Llama 3.2 3B", hidden=3072, layers=28, heads=24, kv=8, head=128, ff=8192, vocabulary=128256, tied=True),
    "7B": dict(name="Llama 7B", hidden=4096, layers=32, heads=32, kv=32, head=128, ff=11008, vocabulary=32000, tied=False),
    "8B": dict(name="Llama 3.1 8B", hidden=4096, layers=32, heads=32, kv=8, head=128, ff=14336, vocabulary=128256, tied=False),
}
CARDS = ["t4", "l4", "a100"]
# Hours of a session.
SESSION = 9
JOBS = {"kaggle-free": (100_000, 10_000), "full": (474_000, 52_000)}


def write_model(folder, s):
    """config.json, a tokenizer of single characters, and a sparse file of float16 weights."""
    os.makedirs(folder, exist_ok=True)
    config = dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=s["hidden"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"],
        num_key_value_heads=s["kv"], head_dim=s["head"], intermediate_size=s["ff"], vocab_size=s["vocabulary"], tie_word_embeddings=s["tied"],
        rms_norm_eps=1e-5, rope_theta=500000.0, max_position_embeddings=8192, hidden_act="silu", torch_dtype="float16", bos_token_id=1, eos_token_id=2)
    json.dump(config, open(folder + "/config.json", "w"))
    special = ["<pad>", "<s>", "</s>"]
    characters = ["\u010a", "\u0120"] + [chr(c) for c in range(33, 127)]
    tokenizer = {
        "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(special + characters)}, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}, "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"id": i, "content": c, "special": True} for i, c in enumerate(special)],
    }
    json.dump(tokenizer, open(folder + "/tokenizer.json", "w"))
    json.dump({"bos_token": "<s>", "eos_token": "</s>"}, open(folder + "/tokenizer_config.json", "w"))
    header, at = {}, 0
    for name, shape in tensors(s):
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + byte_count(shape)]}
        at += byte_count(shape)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(folder + "/model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


def write_records(path, count, lengths, first):
    """Prompt and completion of single characters; the end token is one more."""
    with open(path, "w") as file:
        for i in range(count):
            length = max(4, lengths[(first + i) % len(lengths)])
            answer = max(1, length // 2 - 1)
            # Beginnings differ, as those of records do.
            prompt = ("%x" % (first + i)).ljust(length - answer - 1, "q")[: length - answer - 1]
            file.write('{"prompt": "%s", "completion": "%s"}\n' % (prompt, "a" * answer))


def plan(binary, folder, model, preset, card, records, session):
    train, validation = records
    command = [
        binary, "plan", "--model", "%s/%s" % (folder, model), "--data", "%s/train-%d.jsonl" % (folder, train), "--validation",
        "%s/validation-%d.jsonl" % (folder, validation), "--preset", preset, "--as", card, "--output", folder + "/out", "--scratch", folder, "--threads", "4",
        "--json"]
    if session:
        command += ["--session", session]
    start, before = time.time(), os.times()
    outcome = subprocess.run(command, capture_output=True, text=True)
    after = os.times()
    seconds = (time.time() - start, after.children_user + after.children_system - before.children_user - before.children_system)
    if outcome.returncode not in (0, 3) or (outcome.returncode == 3 and not outcome.stdout):
        return None, outcome.stderr.strip(), seconds
    return json.loads(outcome.stdout), outcome.stderr.strip(), seconds


def duration(seconds):
    minutes = round(seconds / 60)
    if minutes < 60:
        return "%d min" % minutes
    return "%.1f h" % (seconds / 3600) if seconds < 100 * 3600 else "%d h" % round(seconds / 3600)


def way(text):
    options, effect = text
    return " ".join("`--%s %s`" % pair for pair in options.items()) + " (%s)" % effect


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("folder")
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    binary, folder = os.path.abspath(asked.binary), os.path.abspath(asked.folder)
    lengths = [int(line) for line in open(os.path.dirname(os.path.abspath(__file__)) + "/scale-lengths.txt")]
    share = 100 if asked.quick else 1
    jobs = {preset: (train // share, validation // share) for preset, (train, validation) in JOBS.items()}
    os.makedirs(folder, exist_ok=True)
    for name, shape in SHAPES.items():
        write_model(folder + "/" + name, shape)
    for train, validation in jobs.values():
        for path, count, first in [("train-%d" % train, train, 0), ("validation-%d" % validation, validation, 500)]:
            if not os.path.exists("%s/%s.jsonl" % (folder, path)):
                write_records("%s/%s.jsonl" % (folder, path), count, lengths, first)
    print("| model | preset | " + " | ".join(card.upper() + ": GPU memory, training, whole run" for card in CARDS) + " |")
    print("| --- | --- |" + " --- |" * len(CARDS))
    notes, costs = [], []
    for name, shape in SHAPES.items():
        for preset, records in jobs.items():
            cells = []
            for card in CARDS:
                made, error, seconds = plan(binary, folder, name, preset, card, records, None)
                costs.append((seconds[1], "%s %s %s" % (name, preset, card)))
                if made is None:
                    cells.append("does not fit")
                    notes.append("%s, `%s`, %s: %s" % (name, preset, card.upper(), error))
                    continue
                cell = "%.1f GiB, %s, %s" % (
                    made["predicted_gpu_bytes"] / 2**30, duration(made["phases"]["training"]), duration(made["predicted_seconds"]))
                if made["predicted_seconds"] > SESSION * 3600:
                    cell += " \u2020"
                    if asked.ways:
                        made, error, _ = plan(binary, folder, name, preset, card, records, "%dh" % SESSION)
                        notes.append("%s, `%s`, %s: %s" % (name, preset, card.upper(), "; ".join(
                            way((w["options"], w["effect"])) for w in made["ways"]) or made["misfit"]))
                cells.append(cell)
            print("| %s | `%s` | %s |" % (shape["name"], preset, " | ".join(cells)), flush=True)
    print("\n\u2020 longer than a session of %d h.\n" % SESSION)
    for note in notes:
        print("- " + note)
    costs.sort()
    print("\nProcessor seconds of a plan: median %.2f, most %.2f (%s)" % (costs[len(costs) // 2][0], *costs[-1]), file=sys.stderr)


if __name__ == "__main__":
    main()
