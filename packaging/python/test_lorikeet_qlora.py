"""Tests of the module, on the installed binary (or the one that the environment variable LORIKEET names) and a tiny model on the processor.

    python3 -m unittest discover -s packaging/python
"""
import contextlib, io, json, os, shutil, signal, subprocess, sys, tempfile, textwrap, threading, types, unittest
from unittest import mock

import lorikeet_qlora
from lorikeet_qlora import LorikeetError

# Behind the installed packages, so that the module that is tested is the installed one.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "Scripts"))
from tiny_model import tiny_model


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        if "LORIKEET" in os.environ:
            self.use(os.environ["LORIKEET"])
        self.printed, self.errors = io.StringIO(), io.StringIO()
        for redirect in (contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.errors)):
            redirect.__enter__()
            self.addCleanup(redirect.__exit__, None, None, None)

    def use(self, path):
        patch = mock.patch.object(lorikeet_qlora, "binary", lambda: path)
        patch.start()
        self.addCleanup(patch.stop)

    def path(self, name):
        return os.path.join(self.folder, name)

    def stand_in(self, script):
        """A shell script in the binary's place; $OUT is the output directory."""
        os.mkdir(self.path("out"))
        with open(self.path("lorikeet"), "w") as file:
            file.write("#!/bin/sh\nOUT=%s\n%s" % (self.path("out"), textwrap.dedent(script)))
        os.chmod(self.path("lorikeet"), 0o755)
        self.use(self.path("lorikeet"))


class RealRuns(Case):
    def keys(self, **more):
        if not os.path.exists(self.path("model")):
            tiny_model(self.path("model"))
            with open(self.path("train.jsonl"), "w") as file:
                for i in range(64):
                    file.write(json.dumps({"prompt": "count %d" % i, "completion": "%d" % (i + 1)}) + "\n")
        keys = dict(
            model=self.path("model"), data=self.path("train.jsonl"), output=self.path("out"), device="cpu", validation_share=0.1, max_length=32,
            lora_r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], max_steps=8, per_device_train_batch_size=4, gradient_accumulation_steps=1,
            logging_steps=1, test_samples=4, packing=False,
        )
        return dict(keys, **more)

    def test_a_run_returns_its_summary_and_streams_lines_and_events(self):
        events = []
        summary = lorikeet_qlora.run(on_event=events.append, **self.keys())
        self.assertEqual(summary["exit_status"], 0)
        self.assertEqual(summary["steps"], 8)
        self.assertFalse(summary["stopped_early"])
        with open(self.path("out/summary.json")) as file:
            self.assertEqual(dict(json.load(file), exit_status=0), summary)
        with open(self.path("out/events.jsonl")) as file:
            self.assertEqual([json.loads(line) for line in file], events)
        self.assertGreaterEqual(sum(event["event"] == "log" for event in events), 8)
        self.assertIn("[7/10] training", self.printed.getvalue())
        self.assertNotIn("\r", self.printed.getvalue())
        with open(self.path("out/adapter/adapter_config.json")) as file:
            config = json.load(file)
        self.assertEqual((config["r"], sorted(config["target_modules"])), (4, ["q_proj", "v_proj"]))

    def test_an_interrupt_saves_and_the_next_run_goes_on(self):
        seen = []

        def interrupt(event):
            seen.append(event["event"])
            if event["event"] == "log" and seen.count("log") == 2:
                os.kill(os.getpid(), signal.SIGINT)

        keys = self.keys(max_steps=4000, num_train_epochs=1)
        first = lorikeet_qlora.run(on_event=interrupt, **keys)
        self.assertEqual(first["exit_status"], 75)
        self.assertTrue(first["stopped_early"])
        self.assertIn("run again", first["next"])
        saved = sorted(os.listdir(self.path("out/checkpoints")))
        self.assertTrue(saved)
        # Python's own handler is back.
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(1)
        events = []
        done = int(saved[-1].split("-")[1])

        def stop(event):
            events.append(event)
            if event["event"] == "log" and sum(event["event"] == "log" for event in events) == 1:
                os.kill(os.getpid(), signal.SIGINT)

        second = lorikeet_qlora.run(on_event=stop, **keys)
        self.assertEqual(second["exit_status"], 75)
        steps = [event["step"] for event in events if event["event"] == "log"]
        self.assertEqual(steps[0], done + 1)

    def test_a_failure_raises_the_binarys_sentence(self):
        with self.assertRaises(LorikeetError) as raised:
            lorikeet_qlora.run(**self.keys(lora_rr=4))
        self.assertEqual(raised.exception.status, 2)
        self.assertIn("unknown option --lora-rr", str(raised.exception))
        self.assertNotIn("lorikeet:", str(raised.exception))
        self.assertIsNone(raised.exception.summary)
        with self.assertRaises(LorikeetError) as raised:
            lorikeet_qlora.run(**self.keys(model=self.path("nothing")))
        self.assertEqual(raised.exception.status, 2)
        self.assertFalse(os.path.exists(self.path("out")))

    def test_the_module_is_the_command(self):
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
        if "LORIKEET" in os.environ:
            os.mkdir(self.path("bin"))
            os.symlink(os.environ["LORIKEET"], self.path("bin/lorikeet"))
            environment["PATH"] = self.path("bin") + ":" + environment["PATH"]

        def command(*arguments):
            return subprocess.run([sys.executable, "-m", "lorikeet_qlora", *arguments], capture_output=True, text=True, env=environment)

        self.assertRegex(command("--version").stdout, r"^\d+\.\d+\.\d+\n$")
        wrong = command("plan", "--modl", "x")
        self.assertEqual((wrong.returncode, wrong.stderr.count("did you mean --model?")), (2, 1))


class StandIns(Case):
    def test_keys_become_options(self):
        self.stand_in('printf "%s\\n" "$@" > $OUT/arguments\n')
        lorikeet_qlora.run(
            output=self.path("out"), lora_r=16, learning_rate=2e-4, shuffle=False, merge_into=None, target_modules=("q_proj", "v_proj"),
            session="9h", packing=True, max_steps=-1)
        with open(self.path("out/arguments")) as file:
            self.assertEqual(file.read().splitlines(), [
                "run", "--output=" + self.path("out"), "--lora-r=16", "--learning-rate=0.0002", "--shuffle=false",
                "--target-modules=q_proj,v_proj", "--session=9h", "--packing=true", "--max-steps=-1",
            ])
        with self.assertRaises(TypeError):
            lorikeet_qlora.run(lora={"r": 8})
        self.assertEqual(
            lorikeet_qlora.command("plan", "--json", model="m", shuffle=True, validation=None, data=["a", "b"])[1:],
            ["plan", "--json", "--model=m", "--shuffle=true", "--data=a,b"])

    def test_the_output_of_a_configuration_file_is_found(self):
        for text, output in (
            ("model: m\noutput: runs/one  # kept\n", "runs/one"), ("output: 'a b'\n", "a b"), ('output: "c"\n', "c"),
            ("model: m\nlora:\n  output: no\n", "out"), ("", "out"),
        ):
            with open(self.path("run.yaml"), "w") as file:
                file.write(text)
            self.assertEqual(lorikeet_qlora._output({"config": self.path("run.yaml")}), output)
        self.assertEqual(lorikeet_qlora._output({"config": self.path("run.yaml"), "output": "mine"}), "mine")
        self.assertEqual(lorikeet_qlora._output({"config": self.path("missing.yaml")}), "out")

    def test_a_failed_check_has_the_summary_and_the_last_sentence(self):
        self.stand_in("""
            echo '{"steps": 3}' > $OUT/summary.json
            echo 'lorikeet: warning: the first' >&2
            echo 'lorikeet: merged = adapter failed; see out/summary.json' >&2
            echo 'lorikeet: note: the last' >&2
            exit 1
            """)
        with self.assertRaises(LorikeetError) as raised:
            lorikeet_qlora.run(output=self.path("out"))
        error = raised.exception
        self.assertEqual((str(error), error.status, error.summary), ("merged = adapter failed; see out/summary.json", 1, {"steps": 3}))
        self.assertEqual(self.errors.getvalue().count("\n"), 3)

    def test_a_summary_of_an_earlier_run_does_not_belong_to_a_failure(self):
        self.stand_in("exit 4\n")
        with open(self.path("out/summary.json"), "w") as file:
            file.write("{}")
        with self.assertRaises(LorikeetError) as raised:
            lorikeet_qlora.run(output=self.path("out"))
        self.assertIsNone(raised.exception.summary)
        self.assertEqual(str(raised.exception), "lorikeet ended with status 4")

    def test_a_second_interrupt_ends_the_run(self):
        self.stand_in("""
            trap '' INT
            echo '{"event": "log"}' >> $OUT/events.jsonl
            while true; do sleep 0.1; echo '{"event": "log"}' >> $OUT/events.jsonl; done
            """)
        with self.assertRaises(KeyboardInterrupt):
            lorikeet_qlora.run(output=self.path("out"), on_event=lambda event: os.kill(os.getpid(), signal.SIGINT))

    def test_a_callers_exception_ends_the_run(self):
        self.stand_in("""
            echo $$ > $OUT/pid
            echo '{"event": "log"}' >> $OUT/events.jsonl
            exec sleep 60
            """)
        with self.assertRaises(ZeroDivisionError):
            lorikeet_qlora.run(output=self.path("out"), on_event=lambda event: 1 / 0)
        with open(self.path("out/pid")) as file, self.assertRaises(ProcessLookupError):
            os.kill(int(file.read()), 0)

    def test_the_report_is_shown_once_and_updated_in_place(self):
        shown, updated = [], []
        handle = types.SimpleNamespace(update=updated.append)
        show = lambda frame, display_id: (shown.append((frame, display_id)), handle)[1]
        self.stand_in("""
            printf '<p title="a">one</p>' > $OUT/report.html
            sleep 1.2
            printf '<p title="a">one and two</p>' > $OUT/report.html
            sleep 1.2
            """)
        with mock.patch.object(lorikeet_qlora, "_notebook_display", lambda: (show, str)), mock.patch.object(lorikeet_qlora, "REPORT_SECONDS", 0.1):
            lorikeet_qlora.run(output=self.path("out"))
        self.assertEqual([display for _, display in shown], [True])
        # IPython prints a warning for what begins with a frame.
        self.assertFalse(shown[0][0].startswith("<iframe"))
        self.assertIn('srcdoc="&lt;p title=&quot;a&quot;&gt;one&lt;/p&gt;"', shown[0][0])
        self.assertEqual(len(updated), 1)
        self.assertIn("one and two", updated[0])

    def test_outside_a_notebook_nothing_is_displayed(self):
        self.assertIsNone(lorikeet_qlora._notebook_display())
        terminal = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace())
        display = types.SimpleNamespace(HTML=str, display=print)
        with mock.patch.dict(sys.modules, {"IPython": terminal, "IPython.display": display}):
            self.assertIsNone(lorikeet_qlora._notebook_display())
        kernel = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object()))
        with mock.patch.dict(sys.modules, {"IPython": kernel, "IPython.display": display}):
            self.assertEqual(lorikeet_qlora._notebook_display(), (print, str))


if __name__ == "__main__":
    unittest.main()
