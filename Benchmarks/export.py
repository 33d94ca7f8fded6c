"""Merging and exporting a large model: seconds and peak memory of each form, and what a killed export leaves.

    python3 Benchmarks/export.py LORIKEET FOLDER [--shape llama-7b] [--forms merge,merge-nf4,bnb-4bit,f16,q8_0,q4_k_m] [--killed q8_0]

FOLDER gets a random bfloat16 model (13.5 GB for llama-7b), a tokenizer of single characters and an adapter of rank 8 on all seven linears. Each
output is removed before the next is made: the largest needs as much room as the model. With --killed the form is also exported with SIGKILL at
three places and with SIGTERM, and again by the same command: the bytes have to be those of the undisturbed export. Needs Python alone.
"""
import argparse, hashlib, json, os, random, shutil, signal, struct, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../Scripts")
import make_random_model

RANK = 8


def write_tokenizer(folder):
    marks = ["<pad>", "<s>", "</s>"]
    words = marks + ["Ċ", "Ġ"] + [chr(code) for code in range(33, 127)]
    added = [
        dict(id=i, content=mark, special=True, single_word=False, lstrip=False, rstrip=False, normalized=False) for i, mark in enumerate(marks)]
    tokenizer = dict(
        version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, post_processor=None,
        model=dict(type="BPE", vocab={word: i for i, word in enumerate(words)}, merges=[]),
        pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, use_regex=True), decoder=dict(type="ByteLevel"))
    with open(folder + "/tokenizer.json", "w") as file:
        json.dump(tokenizer, file)
    with open(folder + "/tokenizer_config.json", "w") as file:
        json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>"), file)


def write_adapter(folder, shape):
    """A and B uniform between -0.03 and 0.03."""
    os.makedirs(folder)
    source, header, parts, at, modules = random.Random(1), {}, [], 0, set()
    for name, size in make_random_model.tensors(shape):
        if ".layers." not in name or len(size) != 2:
            continue
        modules.add(name.split(".")[-2])
        for part, dimensions in (("lora_A", [RANK, size[1]]), ("lora_B", [size[0], RANK])):
            count = dimensions[0] * dimensions[1]
            key = "base_model.model.%s.%s.weight" % (name[: -len(".weight")], part)
            header[key] = {"dtype": "F32", "shape": dimensions, "data_offsets": [at, at + 4 * count]}
            at += 4 * count
            parts.append(struct.pack("<%df" % count, *(source.uniform(-0.03, 0.03) for _ in range(count))))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder + "/adapter_model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
    with open(folder + "/adapter_config.json", "w") as file:
        json.dump(dict(peft_type="LORA", task_type="CAUSAL_LM", r=RANK, lora_alpha=16, lora_dropout=0.0, bias="none", target_modules=sorted(modules)), file)


def words(lorikeet, folder, form, output):
    start = [lorikeet, "merge" if form.startswith("merge") else "export", "--model", folder + "/model", "--adapter", folder + "/adapter", "--output", output]
    return start + (["--into", "nf4"] * (form == "merge-nf4") if form.startswith("merge") else ["--form", form])


def finished(process):
    """Exit status (negative: a signal's number) and what the process used."""
    _, status, used = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), used


def measured(command):
    start = time.monotonic()
    status, used = finished(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    if status:
        sys.exit("%s ended with %d" % (" ".join(command), status))
    return time.monotonic() - start, used


def sums(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(folder + "/" + name, "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def size(folder):
    return sum(entry.stat().st_size for entry in os.scandir(folder)) if os.path.isdir(folder) else 0


def kill(command, output, whole, share, number):
    """Stops an export when `share` of its bytes are written."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and size(output + ".partial") < share * whole:
        time.sleep(0.02)
    process.send_signal(number)
    status = process.wait()
    there = os.path.exists(output)
    print("  %s at %.0f %%: exit %d, left %.2f GB beside, output there: %s" % (
        signal.Signals(number).name, 100 * share, status, size(output + ".partial") / 1e9, there), flush=True)
    return status == -number and not there


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lorikeet")
    parser.add_argument("folder")
    parser.add_argument("--shape", default="llama-7b", choices=make_random_model.SHAPES)
    parser.add_argument("--forms", default="merge,merge-nf4,bnb-4bit,f16,q8_0,q4_k_m")
    parser.add_argument("--killed")
    options = parser.parse_args()
    folder, lorikeet = os.path.abspath(options.folder), os.path.abspath(options.lorikeet)
    if not os.path.exists(folder + "/adapter"):
        subprocess.run([sys.executable, make_random_model.__file__, folder + "/model", options.shape], check=True)
        write_tokenizer(folder + "/model")
        write_adapter(folder + "/adapter", make_random_model.SHAPES[options.shape])
    output = folder + "/output"
    for form in options.forms.split(",") if options.forms else []:
        seconds, used = measured(words(lorikeet, folder, form, output))
        print("%-10s %6.1f s, %6.1f s of processor, peak %5d MiB, %5.2f GB" % (
            form, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss >> 10, size(output) / 1e9), flush=True)
        shutil.rmtree(output)
    if not options.killed:
        return 0
    command = words(lorikeet, folder, options.killed, output)
    measured(command)
    expected, whole, passed = sums(output), size(output), True
    shutil.rmtree(output)
    # What one leaves is less than what the next waits for.
    for share, number in ((0.02, signal.SIGKILL), (0.3, signal.SIGTERM), (0.6, signal.SIGKILL), (0.97, signal.SIGKILL)):
        passed = kill(command, output, whole, share, number) and passed
    measured(command)
    same, left = sums(output) == expected, os.path.exists(output + ".partial")
    print("  the same command again: same bytes %s, %d file(s), something left beside: %s" % (same, len(expected), left))
    shutil.rmtree(output)
    return 0 if passed and same and not left else 1


if __name__ == "__main__":
    sys.exit(main())
