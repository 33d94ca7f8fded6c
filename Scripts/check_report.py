#!/usr/bin/env python3
"""Opens report pages in headless Chromium and checks what a reader would see.

    python3 Scripts/check_report.py PAGE.html... [--images FOLDER] [--clip HEIGHT]

For each page, in light and dark at 1280 pixels and in light at 390: no error on the console, no request beside the page itself, every chart of the
page's data has its curves and as many points as the data, nothing is wider than the window; the theme button, the logarithmic axis, the smoothing and
the readout under the pointer work; text of records has made no element. Then the page once more inside an iframe's srcdoc, as notebooks show it.
With --images, pictures are written there: NAME-light.png, NAME-dark.png, NAME-phone.png and NAME-notebook.png.

Python's standard library and Debian's package chromium are all it needs; it speaks the DevTools protocol over a pipe. Exit 1 when something is wrong.
"""
import argparse
import base64
import html
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

VIEWS = [("light", 1280, 900, "light"), ("dark", 1280, 900, "dark"), ("phone", 390, 844, "light")]

# What the page says about itself, as one object.
LOOK = r"""
(() => {
  const root = document.documentElement, data = JSON.parse(document.getElementById("data").textContent);
  const charts = data.charts.map((chart) => {
    const figure = document.getElementById("chart-" + chart.id);
    const expected = chart.series.reduce((sum, series) => sum + series.y.filter((y) => y !== null).length, 0);
    const curves = figure ? figure.querySelectorAll("svg.figure path.line").length : 0;
    const long = figure ? [...figure.querySelectorAll("svg.figure path.line")].filter((path) => path.getAttribute("d").length > 0).length : 0;
    return { id: chart.id, expected, drawn: Number(figure?.dataset.points ?? -1), series: chart.series.length, curves, long };
  });
  return {
    ready: root.dataset.ready, error: root.dataset.error ?? null, charts, wide: document.scrollingElement.scrollWidth, inner: innerWidth,
    background: getComputedStyle(document.body).backgroundColor, foreign: document.querySelectorAll("img, iframe, object, embed, link, form").length,
    scripts: document.scripts.length, text: document.body.innerText.length, pwned: window.pwned ?? null,
  };
})()
"""


class Browser:
    """Chromium behind a pipe: commands are numbered, events are kept."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        read_commands, self.commands = os.pipe()
        self.answers, write_answers = os.pipe()
        program = next((found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None)
        if program is None:
            sys.exit("check_report.py: no chromium; apt-get install chromium")

        def place_pipes():
            # The protocol's pipe is descriptors 3 (in) and 4 (out); copies above them first, so that neither overwrites the other.
            copies = os.dup(read_commands), os.dup(write_answers)
            high = [os.dup2(copy, number) for copy, number in zip(copies, (103, 104))]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        arguments = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars", "--no-first-run",
                     "--disable-extensions", "--disable-background-networking", "--force-color-profile=srgb", f"--user-data-dir={self.profile}"]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=place_pipes)
        os.close(read_commands)
        os.close(write_answers)
        self.buffer, self.number, self.events = b"", 0, []
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def message(self, timeout=60):
        deadline = time.time() + timeout
        while b"\0" not in self.buffer:
            if time.time() > deadline:
                raise TimeoutError("chromium does not answer")
            piece = os.read(self.answers, 1 << 20)
            if not piece:
                raise EOFError("chromium ended")
            self.buffer += piece
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, parameters=None):
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters or {}}
        if getattr(self, "session", None):
            command["sessionId"] = self.session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"].get("exception", {}).get("description")))
        return result["result"].get("value")

    def open(self, url, width, height, scheme):
        self.call("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.events.clear()
        self.call("Page.navigate", {"url": url})
        for _ in range(600):
            if self.evaluate("document.readyState === 'complete' && location.href !== 'about:blank'"):
                break
            time.sleep(0.05)
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))")

    def picture(self, path, height=None):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height or size["height"]), "scale": 1}
        data = self.call("Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True})["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def complaints(self, page):
        """Console errors, and requests beside the page."""
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append("exception: " + parameters["exceptionDetails"].get("exception", {}).get("description", "?"))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append("console: " + parameters["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
                found.append("console: " + str(parameters["args"]))
            elif method == "Network.requestWillBeSent" and parameters["request"]["url"] != page and not parameters["request"]["url"].startswith("about:"):
                found.append("request: " + parameters["request"]["url"])
        return found

    def close(self):
        try:
            self.call("Browser.close")
        except (EOFError, OSError, RuntimeError):
            pass
        self.process.wait(timeout=20)
        shutil.rmtree(self.profile, ignore_errors=True)


def faults_of(look):
    faults = []
    if look["ready"] != "1" or look["error"]:
        faults.append(f"the script did not finish: {look['error']}")
    if look["pwned"] is not None or look["foreign"] or look["scripts"] != 2:
        faults.append(f"foreign elements: {look['foreign']}, scripts: {look['scripts']}, ran: {look['pwned']}")
    if look["wide"] > look["inner"]:
        faults.append(f"{look['wide']} pixels wide in a window of {look['inner']}")
    for chart in look["charts"]:
        if chart["drawn"] != chart["expected"] or chart["expected"] < 1:
            faults.append(f"chart {chart['id']}: {chart['drawn']} points of {chart['expected']}")
        if chart["curves"] != chart["series"] or chart["long"] < 1:
            faults.append(f"chart {chart['id']}: {chart['curves']} curves of {chart['series']}, {chart['long']} of them drawn")
    return faults


def interactions(browser):
    """What a reader can do: theme, axis, smoothing, readout. Returns faults."""
    faults = []
    before = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    browser.evaluate("document.getElementById('theme').click()")
    if browser.evaluate("getComputedStyle(document.body).backgroundColor") == before:
        faults.append("the theme button changes nothing")
    browser.evaluate("document.getElementById('theme').click()")
    shape = "document.querySelector('figure.chart path.line').getAttribute('d')"
    if browser.evaluate("document.querySelector('button.log') !== null"):
        plain = browser.evaluate(shape)
        browser.evaluate("document.querySelector('button.log').click()")
        if browser.evaluate(shape) == plain:
            faults.append("the logarithmic axis changes nothing")
        browser.evaluate("document.querySelector('button.log').click()")
    plain = browser.evaluate(shape)
    points = browser.evaluate("JSON.parse(document.getElementById('data').textContent).charts[0].series[0].x.length")
    browser.evaluate("(() => { const s = document.getElementById('smoothing'); s.value = 0.95; s.dispatchEvent(new Event('input')); })()")
    if points > 8 and browser.evaluate(shape) == plain:
        faults.append("the smoothing changes nothing")
    browser.evaluate("localStorage.clear()")
    box = browser.evaluate("(() => { const r = document.querySelector('.plot').getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })()")
    browser.evaluate("document.querySelector('.plot').scrollIntoView({ block: 'center' })")
    box = browser.evaluate("(() => { const r = document.querySelector('.plot').getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })()")
    browser.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": box[0], "y": box[1]})
    tip = browser.evaluate("document.querySelector('.tip')?.textContent ?? ''")
    if "step" not in tip and "min" not in tip:
        faults.append(f"no readout under the pointer: '{tip}'")
    return faults


def check(browser, page, images, clip):
    path = pathlib.Path(page).resolve()
    faults, said = [], None
    for view, width, height, scheme in VIEWS:
        browser.open(path.as_uri(), width, height, scheme)
        look = browser.evaluate(LOOK)
        said = said or look
        found = faults_of(look) + browser.complaints(path.as_uri())
        if view == "dark" and look["background"] == said["background"]:
            found.append("dark looks like light")
        if images:
            browser.picture(images / f"{path.stem}-{view}.png", clip)
        if view == "light":
            found += interactions(browser) + browser.complaints(path.as_uri())
        faults += [f"{view}: {fault}" for fault in found]
    # As a notebook shows it.
    with tempfile.TemporaryDirectory() as folder:
        host = pathlib.Path(folder) / "notebook.html"
        frame = f'<iframe srcdoc="{html.escape(path.read_text(), quote=True)}" width="100%" height="640" style="border:1px solid #ccc"></iframe>'
        host.write_text(f'<!doctype html><meta charset="utf-8"><body style="font:15px sans-serif;margin:24px"><pre style="background:#f4f4f4;padding:10px">'
                        f"lorikeet_qlora.run(model=..., data=...)</pre>{frame}</body>")
        browser.open(host.as_uri(), 1100, 760, "light")
        inside = browser.evaluate("(() => { const d = frames[0].document; return [d.documentElement.dataset.ready, d.documentElement.dataset.error ?? null, "
                                  "d.querySelectorAll('svg.figure').length]; })()")
        if inside[0] != "1" or inside[1] or inside[2] != len(said["charts"]):
            faults.append(f"in a notebook: {inside}")
        faults += [f"notebook: {fault}" for fault in browser.complaints(host.as_uri())]
        if images:
            browser.picture(images / f"{path.stem}-notebook.png", 760)
    points = sum(chart["drawn"] for chart in said["charts"])
    print(f"{page}: {len(said['charts'])} charts, {points} points, {path.stat().st_size} bytes: {'ok' if not faults else 'FAULTS'}")
    for fault in faults:
        print("  " + fault)
    return not faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+")
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--clip", type=int, help="pixels of a picture's height at most")
    given = parser.parse_args()
    if given.images:
        given.images.mkdir(parents=True, exist_ok=True)
    browser = Browser()
    try:
        results = [check(browser, page, given.images, given.clip) for page in given.pages]
    finally:
        browser.close()
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
