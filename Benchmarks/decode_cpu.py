#!/usr/bin/env python3
"""Decoding on the processor: new tokens a second of one or several lorikeet binaries and of llama.cpp, alternating in one run.

    Benchmarks/decode_cpu.py --lorikeet .build/release/lorikeet --model MODEL.gguf [--sequences 1,8,16] [--rounds 5] [--threads 2]

`--lorikeet` may be given several times (before and after a change). llama.cpp takes part where `llama_cpp` (llama-cpp-python) can be
imported; its weights, prompts' lengths and numbers of sequences are the same, and it, too, chooses the likeliest token of each step.
On a shared machine the fastest of the rounds counts; processor time (user and system, all threads, the least of the rounds) is steadier,
but holds the waiting of threads that spin: `--threads 1` compares the arithmetic alone.
"""
import argparse
import json
import subprocess
import sys
import time


def llama(model_path, sequences, prompt, new, threads):
    """One measurement of llama.cpp: seconds and processor seconds a step, prompt tokens a second."""
    import llama_cpp as l
    import numpy

    @l.llama_log_callback
    def quiet(level, text, data):
        pass

    l.llama_log_set(quiet, None)
    l.llama_backend_init()
    parameters = l.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = l.llama_model_load_from_file(model_path.encode(), parameters)
    vocabulary = l.llama_vocab_n_tokens(l.llama_model_get_vocab(model))
    parameters = l.llama_context_default_params()
    parameters.n_ctx = sequences * ((prompt + new + 255) // 256 * 256)
    parameters.n_batch, parameters.n_ubatch, parameters.n_seq_max = 2048, 512, sequences
    parameters.n_threads = parameters.n_threads_batch = threads
    context = l.llama_init_from_model(model, parameters)
    batch = l.llama_batch_init(max(sequences * prompt, sequences), 0, 1)

    def put(row, token, position, sequence, wanted):
        batch.token[row], batch.pos[row], batch.n_seq_id[row], batch.logits[row] = token, position, 1, wanted
        batch.seq_id[row][0] = sequence

    def likeliest(row):
        return int(numpy.ctypeslib.as_array(l.llama_get_logits_ith(context, row), (vocabulary,)).argmax())

    def read(sequences_tokens):
        batch.n_tokens = sequences_tokens
        if l.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")

    best = None
    # The first pass warms caches and threads.
    for length in (4, new):
        l.llama_memory_clear(l.llama_get_memory(context), True)
        for sequence in range(sequences):
            for position in range(prompt):
                row = sequence * prompt + position
                put(row, (row * 7919 + 13) % vocabulary, position, sequence, position == prompt - 1)
        start = time.perf_counter()
        read(sequences * prompt)
        last = [likeliest(sequence * prompt + prompt - 1) for sequence in range(sequences)]
        prompts = time.perf_counter() - start
        for step in range(length - 1):
            if step == 1:
                start, processor = time.perf_counter(), time.process_time()
            for sequence in range(sequences):
                put(sequence, last[sequence], prompt + step, sequence, True)
            read(sequences)
            last = [likeliest(sequence) for sequence in range(sequences)]
        steps = length - 2
        best = ((time.perf_counter() - start) / steps, (time.process_time() - processor) / steps, sequences * prompt / prompts)
    return best


def lorikeet(binary, model_path, sequences, prompt, new, threads):
    command = [binary, "bench", "--decode", "--device", "cpu", "--threads", str(threads), "--model", model_path, "--json", "--rounds", "1"]
    command += ["--sequences", str(sequences), "--prompt", str(prompt), "--new", str(new)]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result["step_seconds"], result.get("step_processor_seconds"), result["prompt_tokens_per_second"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lorikeet", action="append", default=[])
    parser.add_argument("--model", required=True)
    parser.add_argument("--sequences", default="1,8,16")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llama-once", type=int, metavar="SEQUENCES", help="one measurement of llama.cpp, as JSON (what this script starts itself)")
    options = parser.parse_args()
    if options.llama_once:
        print(json.dumps(llama(options.model, options.llama_once, options.prompt, options.new, options.threads)))
        return
    try:
        import llama_cpp

        version = llama_cpp.__version__
    except ImportError:
        version = None
        print("llama_cpp cannot be imported: lorikeet alone")

    def llama_process(sequences):
        command = [sys.executable, __file__, "--llama-once", str(sequences), "--model", options.model, "--prompt", str(options.prompt)]
        command += ["--new", str(options.new), "--threads", str(options.threads)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)

    tools = {binary: lambda n, b=binary: lorikeet(b, options.model, n, options.prompt, options.new, options.threads) for binary in options.lorikeet}
    if version:
        tools["llama.cpp (llama-cpp-python %s)" % version] = llama_process
    for sequences in [int(field) for field in options.sequences.split(",")]:
        rounds = {name: [] for name in tools}
        for _ in range(options.rounds):
            for name, measure in tools.items():
                rounds[name].append(measure(sequences))
        for name, results in rounds.items():
            step, prompts = min(r[0] for r in results), max(r[2] for r in results)
            processor = min((r[1] for r in results if r[1] is not None), default=None)
            print(
                "%2d sequences  %8.1f tokens/s  %7.2f ms a step  %s of processor time a step  prompts %6.0f tokens/s  %s"
                % (sequences, sequences / step, 1e3 * step, "%7.2f ms" % (1e3 * processor) if processor else "         -", prompts, name),
                flush=True,
            )


main()
