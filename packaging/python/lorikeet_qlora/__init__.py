"""Lorikeet from Python: starts the binary that this package installs, and shows what it does.

    import lorikeet_qlora
    summary = lorikeet_qlora.run(model="Qwen/Qwen3-0.6B", data="train.jsonl", output="out", lora_r=16)

Nothing is computed in Python, and nothing is imported beside the standard library (and IPython's display, inside a notebook).
"""
import ctypes
import html
import importlib.metadata
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time

__all__ = ["run", "command", "binary", "LorikeetError"]

# The exit status of a run that ended early with everything saved.
STOPPED_EARLY = 75
# Seconds between two updates of the report in a notebook: each one sends the whole page to the browser.
REPORT_SECONDS = 15.0


class LorikeetError(RuntimeError):
    """A run that failed: the binary's own sentence.

    `status` is the exit status (1 a check failed, 2 unusable input, 3 it does not fit, 4 the machine failed; negative: ended by that signal).
    `summary` is what the run had written about itself by then, or None.
    """

    def __init__(self, sentence, status, summary=None):
        super().__init__(sentence)
        self.status = status
        self.summary = summary


def binary():
    """The path of the installed `lorikeet`.

    Raises FileNotFoundError where this package lies without it.
    """
    candidates = []
    try:
        for file in importlib.metadata.files("lorikeet_qlora") or []:
            if file.name == "lorikeet" and file.parent.name != "lorikeet_qlora":
                candidates.append(str(file.locate()))
    except importlib.metadata.PackageNotFoundError:
        pass
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # `pip install --target DIR` puts scripts in DIR/bin.
    candidates += [os.path.join(packages, "bin", "lorikeet"), os.path.join(sysconfig.get_path("scripts"), "lorikeet")]
    for path in candidates:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.realpath(path)
    found = shutil.which("lorikeet")
    if found is None:
        raise FileNotFoundError("the lorikeet binary is not installed beside this module; run: pip install --force-reinstall lorikeet_qlora")
    return found


def run(*, on_event=None, **keys):
    """Runs `lorikeet run` and returns its summary as a dict.

    Every key is an option of the command line: `lora_r=16` is `--lora-r 16`; lists are joined with commas; None is left out;
    `config="run.yaml"` reads the others from a file. Lines are printed as they come. In a notebook the run's report.html, where the run
    writes one, stands below the cell's lines and is updated in place. `on_event` is called with each new object of events.jsonl, a dict.

    The summary has `exit_status` in addition to what is in summary.json: 0, or 75 for a run that stopped early with everything saved; then
    `next` says what to do. Every other status raises LorikeetError with the binary's sentence. An interrupted cell (KeyboardInterrupt) stops
    the run, waits until it is saved and returns such a summary too; a second interrupt ends the run without waiting.
    """
    output = _output(keys)
    watch = _Watch(output, on_event)
    status, sentence = _stream(command("run", **keys), watch)
    if status not in (0, STOPPED_EARLY):
        raise LorikeetError(sentence or "lorikeet ended with status %d" % status, status, watch.summary(of_this_run=True))
    # A finished run that is started again leaves its summary as it is.
    summary = dict(watch.summary(of_this_run=False) or {}, exit_status=status)
    if status == STOPPED_EARLY:
        summary.update(stopped_early=True, next="stopped early, everything is saved: run again to go on")
        if sentence is None:
            print("lorikeet: " + summary["next"], flush=True)
    return summary


def command(verb, *flags, **keys):
    """The command line of a verb as a list, for the module subprocess. Keys become options as they do in `run`; `flags` are passed as they are."""
    options = ["--%s=%s" % (name.replace("_", "-"), _text(name, value)) for name, value in keys.items() if value is not None]
    return [binary(), verb, *flags, *options]


def _text(name, value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return ",".join(_text(name, item) for item in value)
    raise TypeError("%s has to be a string, number, bool, path or list, not %s" % (name, type(value).__name__))


def _output(keys):
    """The run's output directory: the key `output`, else the one of the file `config`, else the command line's default."""
    if keys.get("output") is not None:
        return os.fspath(keys["output"])
    try:
        with open(os.fspath(keys.get("config") or os.devnull), encoding="utf-8") as file:
            named = re.search(r"""^output\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s#][^#\n]*))""", file.read(), re.MULTILINE)
    except (OSError, ValueError):
        # The binary has a sentence for a file that cannot be read.
        named = None
    return next(group for group in named.groups() if group).strip() if named else "out"


# Looked up before any fork: a child of a process with threads must not load anything.
_prctl = ctypes.CDLL(None).prctl


def _die_with_parent():
    """In the child: when this Python is killed or restarted its run is told to stop too, and saves itself."""
    _prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


class _Interrupts:
    """While a run goes on, an interrupt of this process (Ctrl-C, a notebook's stop button) is passed on to it instead of being raised here.

    The first asks the run to save and stop, a second ends it. Python has interrupts in its main thread alone; in others nothing is changed.
    """

    def __init__(self, process):
        self.count = 0
        self._process = process
        self._previous = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._pass_on)
        return self

    def __exit__(self, *_):
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _pass_on(self, *_):
        self.count += 1
        self._process.send_signal(signal.SIGINT if self.count == 1 else signal.SIGKILL)


def _stream(command, watch):
    """Runs `command`, printing what it prints. Returns its status and the last sentence of its standard error."""
    # A session of its own: an interrupt of a terminal's whole group would reach the run twice, and the second one ends it without saving.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_die_with_parent
    )
    reader = _Reader(process)
    try:
        with _Interrupts(process) as interrupts:
            said = 0
            while reader.step(0.5):
                watch.look()
                if interrupts.count > said:
                    said = interrupts.count
                    print("lorikeet: interrupted; waiting until everything is saved", flush=True)
            status = process.wait()
    except BaseException:
        # The caller's function raised: the run is saved and ends with it.
        process.terminate()
        process.wait()
        raise
    if interrupts.count and status < 0:
        # It had not begun to save yet, or was told twice.
        raise KeyboardInterrupt
    watch.look(last=True)
    return status, reader.sentence


class _Reader:
    """Copies a process's two streams to this one's, line by line, so that a notebook shows them in the cell."""

    def __init__(self, process):
        self.sentence = None
        self._parts = {process.stdout: b"", process.stderr: b""}
        self._errors = process.stderr
        self._selector = selectors.DefaultSelector()
        for stream in self._parts:
            self._selector.register(stream, selectors.EVENT_READ)

    def step(self, seconds):
        """Waits for output at most so long and passes it on. Returns False once both streams have ended."""
        for key, _ in self._selector.select(seconds):
            stream = key.fileobj
            data = os.read(stream.fileno(), 65536)
            if not data:
                self._selector.unregister(stream)
                stream.close()
                lines, self._parts[stream] = [self._parts[stream]], b""
            else:
                *lines, self._parts[stream] = (self._parts[stream] + data).split(b"\n")
                lines = [line + b"\n" for line in lines]
            for line in lines:
                self._show(line.decode("utf-8", "replace"), stream is self._errors)
        return bool(self._selector.get_map())

    def _show(self, line, is_error):
        if not line:
            return
        print(line, end="", file=sys.stderr if is_error else sys.stdout, flush=True)
        text = line.strip()
        if is_error and text.startswith("lorikeet: ") and not text.startswith(("lorikeet: note: ", "lorikeet: warning: ")):
            self.sentence = text[len("lorikeet: "):]


class _Watch:
    """The output directory of a run while it goes on: new events, and the report shown in a notebook."""

    def __init__(self, output, on_event):
        self._events = os.path.join(output, "events.jsonl")
        self._report = os.path.join(output, "report.html")
        self._summary = os.path.join(output, "summary.json")
        self._on_event = on_event
        # What an earlier run wrote is not this one's news.
        self._read = os.path.getsize(self._events) if os.path.exists(self._events) else 0
        self._shown = self._stamp(self._report)
        self._summary_before = self._stamp(self._summary)
        self._display = _notebook_display()
        self._handle = None
        self._next = 0.0

    @staticmethod
    def _stamp(path):
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def look(self, last=False):
        if self._on_event is not None:
            self._pass_events_on()
        if self._display is not None and (last or time.monotonic() >= self._next):
            self._next = time.monotonic() + REPORT_SECONDS
            self._show_report()

    def _pass_events_on(self):
        try:
            with open(self._events, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return
        whole = data.rfind(b"\n") + 1
        self._read += whole
        for line in data[:whole].splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                # The rest of a line at which an earlier run was killed.
                continue
            self._on_event(event)

    def _show_report(self):
        stamp = self._stamp(self._report)
        if stamp is None or stamp == self._shown:
            return
        try:
            with open(self._report, encoding="utf-8", errors="replace") as file:
                page = file.read()
        except OSError:
            return
        self._shown = stamp
        show, make = self._display
        # A frame of its own: the page's styles and scripts do not meet the notebook's.
        # IPython warns of HTML that begins with a frame, which it takes for a page of another address.
        frame = make('<div><iframe srcdoc="%s" style="width:100%%;height:720px;border:0" sandbox="allow-scripts"></iframe></div>' % html.escape(page))
        if self._handle is None:
            self._handle = show(frame, display_id=True)
        else:
            self._handle.update(frame)

    def summary(self, of_this_run):
        """summary.json, or None; with `of_this_run` only one that was written since the run began."""
        if of_this_run and self._stamp(self._summary) == self._summary_before:
            return None
        try:
            with open(self._summary, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return None


def _notebook_display():
    """IPython's `display` and `HTML` where this runs in a notebook, else None: a terminal has nowhere to show a page."""
    if "IPython" not in sys.modules:
        return None
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        return None
    shell = get_ipython()
    return (display, HTML) if shell is not None and getattr(shell, "kernel", None) is not None else None
