#!/usr/bin/env python3
"""The promises of a run under fire, tried on a tiny model, on this machine's processor or on a card:

    python3 Scripts/fire.py kills LORIKEET [--kills 100] [--seed N] [--real] [--device cuda:0]
    python3 Scripts/fire.py writes LORIKEET [--verbs run,merge,...] [--errors ENOSPC,EIO,EROFS] [--every 1]

`kills` ends a run with SIGKILL at random instants of all of its steps, each time starting the same command again, until it has ended well; then
another one, until all kills are done. Adapter, checkpoints, merged model, exported files and run.yaml have to have the bytes of a run that nothing
disturbed, and no training step before the newest checkpoint may be done again. The seed is printed; --seed repeats its choices.
With --real the run is a small one of Examples/kinds (`make model data`).

`writes` lists every call by which a small run of each verb changes the disk (Tests/FailingCalls, which needs a C compiler), then lets each of
them fail once, with each of the errors in turn. The command has to end with a sentence and exit code 4, or to do without what failed (a page, a cache);
and the same command has to end well afterwards with the bytes of an undisturbed one.

Prints a line a claim; exits 1 where one fails.
"""
import argparse
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from tiny_model import tiny_model

failures = 0


def claim(holds, text):
    global failures
    failures += 0 if holds else 1
    print(("pass  " if holds else "FAIL  ") + text, flush=True)


def digests(folder, names):
    """The hash of each file at or below the named parts of a folder."""
    found = {}
    for name in names:
        path = os.path.join(folder, name)
        files = [path] if os.path.isfile(path) else [os.path.join(at, file) for at, _, files in os.walk(path) for file in files]
        for file in files:
            with open(file, "rb") as opened:
                found[os.path.relpath(file, folder)] = hashlib.sha256(opened.read()).hexdigest()
    return found


def different(one, other):
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Scene:
    """A tiny model with records in a folder of its own."""

    def __init__(self, lorikeet, folder, records, seed=1):
        self.lorikeet, self.folder = os.path.abspath(lorikeet), folder
        tiny_model(os.path.join(folder, "model"))
        chooser = random.Random(seed)
        with open(os.path.join(folder, "train.jsonl"), "w") as file:
            for _ in range(records):
                number = chooser.randrange(1000)
                file.write(json.dumps({"prompt": "say %d:" % number, "completion": "ab" * (1 + number % 9)}) + "\n")

    def environment(self, cache="cache", **more):
        return dict(os.environ, XDG_CACHE_HOME=os.path.join(self.folder, cache), HF_HOME=os.path.join(self.folder, "hub"), **more)

    def run(self, arguments, **more):
        done = subprocess.run([self.lorikeet] + arguments, cwd=self.folder, env=self.environment(**more), capture_output=True, text=True, timeout=600)
        return done.returncode, done.stdout, done.stderr


# What a run makes and a kill may not change.
RESULTS = ["adapter", "checkpoints", "merged", "gguf", "bnb-4bit", "run.yaml", "inputs.json", "files.json"]
STEPS = ["environment", "data", "formatting", "checks", "planning", "model loading", "training", "merging", "testing", "report"]


def recipe(steps, samples, more=()):
    return [
        "run", "--model", "model", "--data", "train.jsonl", "--output", "out", "--device", "cpu", "--threads", "1", "--max-length", "64",
        "--max-steps", str(steps), "--per-device-train-batch-size", "4", "--gradient-accumulation-steps", "1", "--save-steps", "4", "--eval-steps", "8",
        "--save-total-limit", "0", "--logging-steps", "5", "--test-samples", str(samples), "--max-validation-samples", "64", "--learning-rate", "1e-3",
        "--merge-tolerance", "10", "--export-tolerance", "10", "--export", "f16,q8_0,bnb-4bit", "--validation-share", "0.1",
    ] + list(more)


def real():
    root = os.path.dirname(HERE)
    return [
        "run", "--model", root + "/.work/SmolLM2-135M-Instruct.Q4_1.gguf", "--data", root + "/.work/kinds", "--output", "out", "--device", "cpu",
        "--max-train-samples", "160", "--test-samples", "8", "--max-validation-samples", "32", "--save-steps", "3",
        "--save-total-limit", "0", "--export", "q8_0", "--merge-tolerance", "10", "--export-tolerance", "10",
    ]


def events(folder, output="out"):
    """The events of the run in folder/output, but for lines that a kill cut off."""
    found = []
    try:
        with open(os.path.join(folder, output, "events.jsonl"), "rb") as file:
            for line in file.read().split(b"\n"):
                try:
                    found.append(json.loads(line))
                except ValueError:
                    pass
    except OSError:
        pass
    return found


def open_step(folder, since):
    """The numbered step that a process was in, by the events behind the first `since`; None before its first one."""
    name = None
    for event in events(folder)[since:]:
        if event.get("event") == "phase":
            name = event["name"]
    return name


def repeated(folder):
    """Training steps that were done although a checkpoint held them."""
    saved, wrong = 0, []
    for event in events(folder):
        if event.get("event") == "checkpoint":
            saved = max(saved, event["step"])
        elif event.get("event") == "step" and event["step"] <= saved:
            wrong.append(event["step"])
    return wrong


def kills(arguments):
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print("      seed %d" % seed)
    chooser = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lorikeet-kills-") as folder:
        scene = Scene(arguments.lorikeet, folder, 4000)
        command = real() if arguments.real else recipe(arguments.steps, 24)
        command[command.index("--device") + 1] = arguments.device
        start = time.monotonic()
        code, _, said = scene.run(command)
        whole = time.monotonic() - start
        claim(code == 0, "an undisturbed run ends well (%.1f s)%s" % (whole, "" if code == 0 else ": " + said.strip()))
        if code != 0:
            return
        os.rename(os.path.join(folder, "out"), os.path.join(folder, "calm"))
        calm = digests(os.path.join(folder, "calm"), RESULTS)
        seconds = json.load(open(os.path.join(folder, "calm/summary.json")))["phases"]
        done, rounds, by_step = 0, 0, {}
        wrong, again, ended_badly = [], [], []
        while done < arguments.kills:
            rounds += 1
            shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
            if chooser.random() < 0.5:
                shutil.rmtree(os.path.join(folder, "cache"), ignore_errors=True)
            for _ in range(chooser.randint(3, 12)):
                since = len(events(folder))
                process = subprocess.Popen(
                    [scene.lorikeet] + command, cwd=folder, env=scene.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                # Half of the instants are spread over the run's time, the others over its steps, however short they are.
                name = chooser.choice(STEPS) if chooser.random() < 0.5 else None
                if name is None:
                    time.sleep(chooser.uniform(0, 0.7 * whole))
                else:
                    while process.poll() is None and open_step(folder, since) != name:
                        time.sleep(0.001)
                    time.sleep(chooser.uniform(0, seconds.get(name, 0.1)))
                if process.poll() is not None:
                    said = process.stderr.read()
                    if process.returncode != 0:
                        ended_badly.append((process.returncode, said.strip()))
                    break
                process.send_signal(signal.SIGKILL)
                process.wait()
                process.stderr.close()
                at = open_step(folder, since) or "before the first event"
                by_step[at] = by_step.get(at, 0) + 1
                done += 1
                if done >= arguments.kills:
                    break
            code, _, said = scene.run(command)
            if code != 0:
                ended_badly.append((code, said.strip()))
                break
            wrong += different(calm, digests(os.path.join(folder, "out"), RESULTS))
            again += repeated(folder)
        print("      %d kills in %d runs: %s" % (done, rounds, ", ".join("%s %d" % (name, by_step[name]) for name in sorted(by_step))))
        claim(not ended_badly, "after each kill the same command goes on, and ends well" + "".join("\n        exit %s: %s" % bad for bad in ended_badly[:3]))
        claim(not wrong, "%d files of adapter, checkpoints, merged model, exports and run.yaml are bit-identical%s" % (len(calm), ": not " + ", ".join(sorted(set(wrong))[:9]) if wrong else ""))
        claim(not again, "no training step that a checkpoint holds is done again%s" % (": %s" % again[:9] if again else ""))


# MARK: every write


def verbs(folder):
    """By verb: its command, and what it makes."""
    small = recipe(2, 2, ["--save-steps", "1", "--eval-steps", "1", "--max-validation-samples", "4", "--max-train-samples", "24"])
    train = ["train"] + small[1:]
    for key in ("--merge-tolerance", "--export-tolerance", "--export", "--test-samples"):
        at = train.index(key)
        del train[at : at + 2]
    test = ["test", "--model", "model", "--adapter", "made/adapter", "--merged", "made/merged", "--data", "train.jsonl", "--max-length", "64"]
    test += ["--max-validation-samples", "4", "--test-samples", "2", "--merge-tolerance", "10", "--device", "cpu", "--validation-share", "0.1"]
    return {
        "run": (small, RESULTS),
        "train": (train, ["adapter", "checkpoints", "run.yaml", "inputs.json", "files.json"]),
        "merge": (["merge", "--model", "model", "--adapter", "made/adapter", "--output", "out", "--threads", "1"], [""]),
        "export": (["export", "--model", "made/merged", "--output", "out", "--form", "f16,q8_0", "--threads", "1"], [""]),
        "test": (test, [""]),
        "report": (["report", "made", "--output", "out/page.html"], [""]),
        "generate": (["generate", "--model", "model", "--input", "asked.jsonl", "--output", "out/answers.jsonl", "--max-new-tokens", "4", "--device", "cpu"], [""]),
        "pull": (["pull", "org/tiny"], None),
    }


def writes(arguments):
    codes = [getattr(errno, name) for name in arguments.errors.split(",")]
    with tempfile.TemporaryDirectory(prefix="lorikeet-writes-") as folder:
        library = os.path.join(folder, "failing_calls.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, os.path.join(HERE, "../Tests/FailingCalls/failing_calls.c"), "-ldl"], check=True)
        scene = Scene(arguments.lorikeet, folder, 60)
        with open(os.path.join(folder, "asked.jsonl"), "w") as file:
            file.write('{"prompt": "say 1:"}\n{"prompt": "say 2:"}\n')
        code, _, said = scene.run(recipe(4, 2))
        claim(code == 0, "a run for the other verbs" + ("" if code == 0 else ": " + said))
        os.rename(os.path.join(folder, "out"), os.path.join(folder, "made"))
        os.makedirs(os.path.join(folder, "repositories/org"))
        shutil.copytree(os.path.join(folder, "model"), os.path.join(folder, "repositories/org/tiny"))
        hub = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "local_hub.py"), os.path.join(folder, "repositories"), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True)
        try:
            endpoint = hub.stdout.readline().strip().split("=", 1)[1]
            chosen = arguments.verbs.split(",") if arguments.verbs else list(verbs(folder))
            for verb in chosen:
                every_write(scene, verb, library, codes, arguments.every, endpoint)
        finally:
            hub.terminate()
            hub.wait()


def every_write(scene, verb, library, codes, every, endpoint):
    folder = scene.folder
    command, made = verbs(folder)[verb]
    place = "out" if made is not None else "hub"

    def clean():
        for name in ("out", "hub", "cache-of-one"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        # The folder of a file that a verb writes.
        if verb in ("report", "generate"):
            os.makedirs(os.path.join(folder, "out"))

    def tried(**more):
        return scene.run(command, cache="cache-of-one", HF_ENDPOINT=endpoint, **more)

    def made_files():
        # A report names the time it was made at; its content is of no concern here.
        found = digests(os.path.join(folder, place), made if made is not None else [""])
        return {name: value for name, value in found.items() if "/.locks/" not in "/" + name and ".lorikeet-partial" not in name}

    clean()
    log = os.path.join(folder, "calls")
    if os.path.exists(log):
        os.remove(log)
    code, _, said = tried(LD_PRELOAD=library, CALL_LOG=log)
    calls = [line.split(" ", 2) for line in open(log).read().splitlines()] if os.path.exists(log) else []
    calm = made_files()
    claim(code == 0, "%s: an undisturbed one ends well, with %d changes of the disk%s" % (verb, len(calls), "" if code == 0 else ": " + said.strip()))
    silent, wrong, stuck, without = [], [], [], 0
    for number in range(1, len(calls) + 1, every):
        what = " ".join(calls[number - 1][1:]).replace(folder, ".")
        for code_of_error in [codes[number % len(codes)]] if every == 1 and len(codes) > 1 and not ALL else codes:
            clean()
            code, out, said = tried(LD_PRELOAD=library, CALL_FAIL=str(number), CALL_ERROR=str(code_of_error))
            label = "%d %s (%s)" % (number, what, errno.errorcode[code_of_error])
            sentence = [line for line in said.splitlines() if line.startswith("lorikeet: ") and "warning" not in line and "note:" not in line]
            if code == 0:
                without += 1
                # Nothing that is whole is written over.
                if verb in ("merge", "export", "generate"):
                    other = different(calm, made_files())
                    if other:
                        wrong.append("%s: %s" % (label, ", ".join(other[:5])))
                    continue
            elif code != 4 or not sentence:
                silent.append("%s: exit %d %s" % (label, code, said.strip()[-300:]))
            code, out, said = tried()
            if code != 0:
                stuck.append("%s: exit %d %s" % (label, code, said.strip()[-300:]))
            else:
                other = different(calm, made_files())
                if other:
                    wrong.append("%s: %s" % (label, ", ".join(other[:5])))

    def shown(list_of):
        return "".join("\n        " + line for line in list_of[:12]) + ("\n        … %d in all" % len(list_of) if len(list_of) > 12 else "")

    claim(not silent, "%s: each failure is a sentence with exit 4 (%d did without what failed)%s" % (verb, without, shown(silent)))
    claim(not stuck, "%s: the same command ends well afterwards%s" % (verb, shown(stuck)))
    claim(not wrong, "%s: with the same bytes in %d files%s" % (verb, len(calm), shown(wrong)))


ALL = False


def main():
    global ALL
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "writes"])
    parser.add_argument("lorikeet")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--real", action="store_true", help="of kills: SmolLM2")
    parser.add_argument("--device", default="cpu", help="of kills")
    parser.add_argument("--steps", type=int, default=80, help="training steps of the run that is killed")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--verbs", help="of writes: names, separated by commas")
    parser.add_argument("--errors", default="ENOSPC,EIO,EROFS")
    parser.add_argument("--all", action="store_true", help="of writes: every error at every call, and not in turn")
    parser.add_argument("--every", type=int, default=1, help="of writes: every N-th call alone")
    arguments = parser.parse_args()
    ALL = arguments.all
    {"kills": kills, "writes": writes}[arguments.what](arguments)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
