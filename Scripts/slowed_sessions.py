#!/usr/bin/env python3
"""Sessions in which the step becomes slow midway, on a real card or processor:

    python3 Scripts/slowed_sessions.py LORIKEET --model MODEL --data train.jsonl [--device cuda:0] [--sessions 3] [--samples 20000] [--slow 'COMMAND']

A run without a session says how long it takes. Then, for each session, the same run gets `--session` with two fifths more time than that, and once a share of
the training is done (a fifth, two fifths, three fifths) another program takes the device until the run ends. The run has to end well before its session does,
merged and tested, with the last step's learning rate exactly that of the undisturbed run's last step, although steps were dropped.

COMMAND is what slows it down, started again whenever it ends; by default a benchmark of this program on the same device.
Prints a line a claim; exits 1 where one fails.
"""
import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fire
from fire import claim


def steps(out):
    return [event for event in fire.events(*os.path.split(out)) if event.get("event") == "step"]


class Load:
    """Another program on the device, from `begin` to `end`."""

    def __init__(self, command):
        self.command, self.ended, self.process, self.thread = command, threading.Event(), None, None

    def begin(self):
        def run():
            while not self.ended.is_set():
                self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
                self.process.wait()
                time.sleep(0.05)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def end(self):
        self.ended.set()
        if self.thread is None:
            return
        while self.thread.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (OSError, AttributeError):
                pass
            self.thread.join(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lorikeet")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--slow")
    arguments, more = parser.parse_known_args()
    lorikeet = os.path.abspath(arguments.lorikeet)
    folder = tempfile.mkdtemp(prefix="lorikeet-slowed-")
    command = [lorikeet, "run", "--model", arguments.model, "--data", arguments.data, "--device", arguments.device, "--seed", "42",
               "--max-train-samples", str(arguments.samples), "--validation-share", "0.01", "--test-samples", "32", "--logging-steps", "1"] + more
    shape = "llama-3.2-1b" if arguments.device != "cpu" else "smollm2-135m"
    slow = shlex.split(arguments.slow) if arguments.slow else [lorikeet, "bench", "--device", arguments.device, "--shape", shape, "--rounds", "50"]

    def run(name, options, share=None):
        out, load = folder + "/" + name, Load(slow)
        start = time.time()
        with open(folder + "/" + name + ".err", "w") as err:
            process = subprocess.Popen(command + ["--output", out] + options, stdout=subprocess.DEVNULL, stderr=err)
            begun = None
            while process.poll() is None:
                done = steps(out) if share is not None and begun is None else []
                if done and done[-1]["step"] >= share * calm_steps:
                    begun = done[-1]["step"]
                    load.begin()
                time.sleep(0.05)
        seconds = time.time() - start
        load.end()
        return process.returncode, seconds, begun, out, open(folder + "/" + name + ".err").read().strip()

    calm_steps = 0
    code, _, _, _, said = run("first", [])
    claim(code == 0, "a run ends well" + ("" if code == 0 else ": exit %d %s" % (code, said[-400:])))
    if code != 0:
        return
    # The second one finds kernels and formatted records in the cache, and what the first measured, as the sessions do.
    code, whole, _, out, said = run("calm", [])
    calm = steps(out)
    calm_steps, last_rate = calm[-1]["step"], calm[-1]["learning_rate"]
    claim(code == 0, "undisturbed: %.1f s, %d steps, last learning rate %.6g" % (whole, calm_steps, last_rate))
    for number in range(arguments.sessions):
        session = 1.4 * whole
        share = 0.2 * (1 + number % 4)
        code, seconds, begun, out, said = run("session-%d" % number, ["--session", "%ds" % round(session)], share)
        text = "session of %d s, slowed from step %s: " % (round(session), begun)
        if code != 0 or begun is None or not os.path.exists(out + "/summary.json"):
            claim(False, text + "exit %d after %.1f s and %d steps %s" % (code, seconds, len(steps(out)), said[-600:]))
            continue
        summary, done = json.load(open(out + "/summary.json")), steps(out)
        pace = lambda part: sorted(event["seconds"] for event in part)[len(part) // 2] if part else float("nan")
        before, after = [s for s in done if s["step"] <= begun], [s for s in done if s["step"] > begun]
        dropped = summary.get("dropped_steps") or 0
        claim(
            seconds < round(session) and os.path.exists(out + "/merged/config.json") and summary["transfer"]["pass"] is True and dropped > 0
            and done[-1]["learning_rate"] == last_rate,
            text + "ended after %.1f s, a step %.2f times as long, %d of %d steps done (%d dropped, %d changes of the schedule), last learning rate %.6g, merged and tested" % (
                seconds, pace(after) / pace(before), done[-1]["step"], summary.get("planned_steps") or calm_steps, dropped, len(summary.get("schedule_changes") or []),
                done[-1]["learning_rate"]))
    shutil.rmtree(folder)
    sys.exit(1 if fire.failures else 0)


main()
