# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The demo where everybody may come: what is too much is refused at once, and nobody waits for ever."""

import io
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from huggingface_hub.utils import httpx
from PIL import Image

from ssgpa.cli.commands import EMBEDDED

from ..scripts import load_script
from .bad_files import noise_image, pixel_bomb, program, text_bomb, write


gradio = pytest.importorskip("gradio", reason="the extra `demo` is not installed")
NAME = EMBEDDED.name
CLIENTS = 50


@pytest.fixture(scope="module")
def app():
    return load_script("app")


def scope(address="1.2.3.4", method="POST", **headers):
    pairs = [(name.replace("_", "-").encode(), str(value).encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "client": (address, 1), "headers": pairs}


def test_what_comes_too_often_is_refused(app, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: now[0]))
    limit = app.RateLimit(None)
    assert [limit.refusal(scope()) for _ in range(app.MAX_REQUESTS)] == [None] * app.MAX_REQUESTS
    assert limit.refusal(scope())[0] == 429
    assert limit.refusal(scope("5.6.7.8")) is None
    now[0] = app.RATE_SECONDS + 1
    assert limit.refusal(scope()) is None


def test_what_is_too_large_is_refused_before_it_is_read(app):
    limit = app.RateLimit(None)
    assert limit.refusal(scope(content_length=app.MAX_BODY)) is None
    for length in (app.MAX_BODY + 1, "9" * 30, "-1", "x"):
        assert limit.refusal(scope(content_length=length))[0] == 413
    # One that does not tell has no end.
    assert limit.refusal(scope(transfer_encoding="chunked"))[0] == 411
    # Many that are allowed are too much together.
    found = [limit.refusal(scope("9.9.9.9", content_length=app.MAX_BODY)) for _ in range(20)]
    assert sum(one is None for one in found) == app.MAX_BYTES // app.MAX_BODY
    assert found[-1][0] == 429


def test_as_many_addresses_as_there_are_take_no_memory(app):
    limit = app.RateLimit(None)
    for number in range(app.MAX_ADDRESSES + 500):
        limit.refusal(scope(str(number)))
    assert len(limit.used) == app.MAX_ADDRESSES


def test_an_answer_keeps_no_large_images(app, tmp_path):
    """Sixteen million pixels a side may be asked about; what a page keeps of them is small."""
    rng = np.random.default_rng(0)
    paths = []
    for name in ("before", "after"):
        small = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        paths.append(str(tmp_path / f"{name}.jpg"))
        Image.fromarray(np.kron(small, np.ones((50, 90, 1), np.uint8))).save(paths[-1])
    answer = app.Demo({NAME: str(EMBEDDED)}).answer(*paths, NAME, 1)
    kept = [*answer.pair, *answer.maps]
    assert {image.size for image in kept} == {(1024, 569)}
    most = app.MAX_SESSIONS * sum(len(image.tobytes()) for image in kept)
    assert most < 2**29


def test_nobody_waits_for_ever(app, monkeypatch):
    """Neither for the others nor for a model that does not come to an end."""
    demo = app.Demo({NAME: str(EMBEDDED)}, app.sample_pairs()[:1])
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.05)
    with demo.lock, pytest.raises(gradio.Error, match="many are asking at once"):
        demo.caption(*app.sample_pairs()[0], NAME, 1, True)
    monkeypatch.setattr(app, "ANSWER_SECONDS", 0)
    with pytest.raises(gradio.Error, match="no answer within 0 seconds"):
        demo.caption(*app.sample_pairs()[0], NAME, 1, True)
    assert not demo.lock.locked()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pixel_bomb(), "far too large"),
        (pixel_bomb(4001), "4001x4001 pixels are too many"),
        (program("x"), "EPS files are programs"),
        (b"<svg onload='alert(1)'/>", "cannot identify image"),
    ],
    ids=["bomb", "large", "program", "SVG"],
)
def test_bad_files_are_told(app, tmp_path, content, message):
    good, bad = write(tmp_path / "good.png", noise_image()), write(tmp_path / "bad.png", content)
    with pytest.raises(app.PairError, match=message) as caught:
        app.Demo({NAME: str(EMBEDDED)}).answer(str(good), str(bad), NAME, 1)
    assert str(tmp_path) not in str(caught.value)


@pytest.fixture
def page(app, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    served = app.serve(wait=False)
    for thread in threading.enumerate():
        if thread.name == app.WARMING:
            thread.join()
    yield served
    served.close()


def resident():
    """Memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ask(page, images, seconds):
    """What becomes of a client that uploads two images and asks; its seconds too."""
    start = time.monotonic()
    with httpx.Client(base_url=f"{page.local_url}gradio_api", timeout=seconds) as client:
        paths = []
        for image in images:
            answer = client.post("/upload", files={"files": ("x.jpg", image, "image/jpeg")})
            if answer.status_code != 200:
                return answer.status_code, time.monotonic() - start
            paths.append({"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}})
        answer = client.post("/call/caption", json={"data": [*paths, NAME, 3, True]})
        if answer.status_code != 200:
            return answer.status_code, time.monotonic() - start
        told = client.get(f"/call/caption/{answer.json()['event_id']}").text
    return "caption" if "event: complete" in told else "error", time.monotonic() - start


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its own memory in /proc")
def test_fifty_clients_at_once(app, page):
    """Some are answered, the rest are told so; the memory grows by no more than the limits say."""
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(np.kron(small, np.ones((60, 60, 1), np.uint8))).save(file, "JPEG")
    ask(page, [file.getvalue()] * 2, 300)
    before, start = resident(), time.monotonic()
    most = app.WAIT_SECONDS + (app.MAX_WAITING + 3) * app.ANSWER_SECONDS
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(lambda _: ask(page, [file.getvalue()] * 2, most), range(CLIENTS)))
    counts, seconds = Counter(kind for kind, _ in found), [second for _, second in found]
    assert len(found) == CLIENTS
    assert counts["caption"] >= app.MAX_WAITING
    assert set(counts) <= {"caption", "error", 429, 503}
    assert max(seconds) < most
    grown = resident() - before
    assert grown < 2**30
    # And it still answers.
    assert ask(page, [file.getvalue()] * 2, 300)[0] == "caption"
    took = f"{time.monotonic() - start:.0f} s, slowest {max(seconds):.0f} s"
    sys.stderr.write(f"\n{CLIENTS} clients: {dict(counts)} in {took}, {grown / 2**20:+.0f} MB\n")


def test_the_page_refuses_what_is_too_large(page, app):
    """By what the request says of itself: nothing of it is waited for."""
    address = urlsplit(page.local_url)
    for name, value, status in (("Content-Length", app.MAX_BODY + 1, 413), ("Transfer-Encoding", "chunked", 411)):
        connection = HTTPConnection(address.hostname, address.port, timeout=60)
        connection.putrequest("POST", "/gradio_api/upload")
        connection.putheader(name, str(value))
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
    small = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ("x.png", text_bomb(size=2**20))})
    assert small.status_code == 200
