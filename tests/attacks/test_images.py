# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images that would fill the memory, run a program, never end, or lead elsewhere: each is one error, and soon."""

import os
import shutil
import subprocess
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ssgpa import image_utils_ssgpa
from ssgpa.image_rasters_ssgpa import PROGRAMS
from ssgpa.image_utils_ssgpa import load_image, size_of

from .bad_files import TRACE, gif_bomb, noise_image, pixel_bomb, program, text_bomb, write


BOMBS = {
    "pixels": pixel_bomb(),
    "GIF": gif_bomb(),
    "zTXt": text_bomb(b"zTXt"),
    "iTXt": text_bomb(b"iTXt"),
    "iCCP": text_bomb(b"iCCP"),
}


def outcome(content):
    """The size of an image, or the error."""
    try:
        return load_image(content, "pair 3").size
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_takes_neither_memory_nor_time(kind):
    """Of 200 MB and more that a few bytes stand for, next to nothing is made; a text that is left out harms nobody."""
    content = BOMBS[kind]
    assert len(content) < 2**20
    tracemalloc.start()
    start = time.process_time()
    found = outcome(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == (16, 16) or found.startswith("pair 3: ")
    assert peak < 100 * 2**20
    assert time.process_time() - start < 10


def test_a_program_is_not_run(tmp_path, monkeypatch):
    """Ghostscript itself is not asked, nor any other program."""
    started = []
    for name in ("call", "check_call", "check_output", "run", "Popen"):
        monkeypatch.setattr(subprocess, name, lambda *words, **_: started.append(words))
    for read in (load_image, size_of):
        with pytest.raises(ValueError, match="EPS files are programs, which are not run"):
            read(program(tmp_path / TRACE))
    assert started == []
    assert not (tmp_path / TRACE).exists()
    assert "EPS" in PROGRAMS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a named pipe")
def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "link.png"):
        with pytest.raises(ValueError, match=rf"{name}: .*it is no regular file"):
            load_image(tmp_path / name)


@pytest.fixture
def address():
    """A server whose answers do not end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1024))
                    if self.path == "/slow":
                        time.sleep(0.05)
            except OSError:
                pass

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "limit", "message"),
    [
        ("/large", "MAX_DOWNLOAD", "more than 100,000 bytes"),
        ("/slow", "MAX_DOWNLOAD_SECONDS", "longer than 1 seconds"),
    ],
)
def test_a_download_has_an_end(address, monkeypatch, path, limit, message):
    monkeypatch.setattr(image_utils_ssgpa, limit, {"MAX_DOWNLOAD": 100_000, "MAX_DOWNLOAD_SECONDS": 1}[limit])
    with pytest.raises(ValueError, match=rf"{path}: cannot be read as an image \(it .*{message}\)"):
        load_image(address + path)


def test_a_good_image_is_still_read(tmp_path):
    path = write(tmp_path / "good.png", noise_image())
    (tmp_path / "link.png").symlink_to(path)
    assert load_image(tmp_path / "link.png").size == (32, 32)
    shutil.copyfile(path, tmp_path / "copy.png")
    assert load_image(tmp_path / "copy.png").tobytes() == load_image(path).tobytes()
