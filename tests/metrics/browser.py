# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A headless Chromium over its DevTools pipe: pages are opened, clicked and read without another package."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from itertools import count
from threading import Timer


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SECONDS = 120
STILL_SECONDS = 10
# The browser reads from file 3 and writes to file 4.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in enumerate(ends, start=3):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")


class Browser:
    """A browser with one tab of 1400 x 1000 pixels; killed after some minutes, so that no test waits for ever."""

    def __init__(self, program, folder, *more, seconds=SECONDS):
        theirs, self.write = os.pipe()
        self.read, answers = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", *QUIET]
        options += [f"--user-data-dir={folder}", "--window-size=1400,1000", *more, "about:blank"]
        command = [sys.executable, "-ISc", START, str(theirs), str(answers), program, *options]
        self.process = subprocess.Popen(command, pass_fds=(theirs, answers), stderr=subprocess.DEVNULL)
        for end in (theirs, answers):
            os.close(end)
        self.watch = Timer(seconds, self.process.kill)
        self.watch.start()
        self.numbers, self.rest, self.session = count(1), b"", None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.watch.cancel()
        self.process.kill()
        self.process.wait()
        os.close(self.write)
        os.close(self.read)

    def send(self, method, **parameters):
        """Sends one command and returns its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                part = os.read(self.read, 1 << 16)
                if not part:
                    raise RuntimeError("The browser ended.")
                self.rest += part
            text, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, url):
        """Opens a page and waits until it is there, images included."""
        # The page before may have the same address, and answers for some time yet.
        self.evaluate("window.isLeft = true")
        self.send("Page.navigate", url=url)
        self.wait(f"!window.isLeft && location.href + document.readyState === {json.dumps(url + 'complete')}")

    def evaluate(self, code):
        """The value of an expression."""
        found = self.send("Runtime.evaluate", expression=code, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{code}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, code, seconds=60):
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + seconds
        while not (found := self.evaluate(code)):
            if time.monotonic() > end:
                raise TimeoutError(f"{code} is still {found!r}.")
            time.sleep(0.05)
        return found

    def text(self, place):
        """The text of an element."""
        return self.evaluate(f"document.querySelector({json.dumps(place)}).textContent")

    def middle(self, place):
        """The middle of an element in the window, after scrolling to it and once it rests and nothing covers it."""
        code = (
            f"(() => {{ const found = document.querySelector({json.dumps(place)}); "
            "found.scrollIntoView({ block: 'center', behavior: 'instant' }); "
            "const box = found.getBoundingClientRect(); "
            "const x = box.x + box.width / 2, y = box.y + box.height / 2; "
            "const top = document.elementFromPoint(x, y); "
            "return [x, y, !!top && (found.parentElement.contains(top) || top.contains(found))]; })()"
        )
        end, last = time.monotonic() + STILL_SECONDS, None
        while True:
            found = self.evaluate(code)
            if found == last and found[2]:
                return found[:2]
            if time.monotonic() > end:
                raise TimeoutError(f"{place} does not come to rest, or something covers it: {found}.")
            last = found
            time.sleep(0.1)

    def click(self, place):
        """Presses and releases the mouse in the middle of an element."""
        x, y = self.middle(place)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        """Types into the element that has the focus."""
        self.send("Input.insertText", text=text)

    def choose(self, place, value):
        """Chooses an entry of a list; the list itself is drawn outside of the page, where no mouse goes."""
        event = "dispatchEvent(new Event('input', { bubbles: true }))"
        code = f"found.value = {json.dumps(value)}; found.{event}"
        self.evaluate(f"(() => {{ const found = document.querySelector({json.dumps(place)}); {code}; }})()")

    def upload(self, place, path):
        """Gives a file to an element that takes files."""
        code = f"document.querySelector({json.dumps(place)})"
        element = self.send("Runtime.evaluate", expression=code)["result"]["objectId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], objectId=element)

    def drag(self, place, share):
        """Drags an element to a share of the width of the window."""
        x, y = self.middle(place)
        width = self.evaluate("innerWidth")
        for kind, across in (("mousePressed", x), ("mouseMoved", share * width), ("mouseReleased", share * width)):
            self.send("Input.dispatchMouseEvent", type=kind, x=across, y=y, button="left", clickCount=1)

    def screenshot(self, path):
        """Writes what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
