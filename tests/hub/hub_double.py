# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A Hub on the loopback interface: it speaks the calls that huggingface_hub makes for models and data sets.

Repositories live in memory. `with HubDouble() as hub:` serves on a free port; programs are pointed at it by
`hub.environment(home)`, which must be there before they import huggingface_hub.
"""

import base64
import hashlib
import json
import os
import re
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .hub_store import File, RefusedError, Repository, card_errors, path_entries, tree_entries


LARGE = (".safetensors", ".parquet", ".png", ".bin")
DATE = "2026-01-01T00:00:00.000Z"


class HubDouble:
    """The server and what it holds.

    Attributes:
        repositories: By (kind, id), for example ("model", "org/name").
        large_files: Contents by SHA-256.
        uploads: How often each large file was sent.
        requests: (method, path) of every call.
        tokens: The user of each token.
        stall_after: Uploads of large files that are let through; later ones wait, as on a broken line.
        stalled: Set when an upload waits.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.uploads: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.tokens = {"token-of-org": "org"}
        self.stall_after: int | None = None
        self.stalled, self.released = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        verbs = dict.fromkeys([f"do_{verb}" for verb in ("GET", "HEAD", "POST", "PUT", "DELETE")], Handler.answer_any)
        handler = type("BoundHandler", (Handler,), {"hub": self, **verbs})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "HubDouble":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def environment(self, home: Path, token: str | None = "token-of-org") -> dict[str, str]:
        """The variables of a process that talks to this Hub and keeps everything in `home`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        kept |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        kept |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return kept | ({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, File]:
        """The files of a repository."""
        return self.repositories[kind, repo_id].find(revision)[1]


class Handler(BaseHTTPRequestHandler):
    """One call."""

    hub: HubDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer_any(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(address.path)
        self.query = dict(urllib.parse.parse_qsl(address.query))
        self.body = self.read_body()
        self.hub.requests.append((self.command, path))
        try:
            for methods, pattern, action in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in methods.split():
                    return action(self, **match.groupdict())
            raise RefusedError(404, "NotFound", f"{self.command} {path} is not a call that the double knows")
        except RefusedError as error:
            self.send({"error": str(error)}, error.status, error.headers)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise RefusedError(401, "Unauthorized", "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def writer(self) -> str:
        return self.user() or self.refuse_anonymous()

    def refuse_anonymous(self) -> str:
        raise RefusedError(401, "Unauthorized", "Invalid username or password.")

    def repository(self, kind: str | None, repo: str) -> Repository:
        found = self.hub.repositories.get((singular(kind), repo))
        if found is None or (found.private and self.user() is None):
            raise RefusedError(401 if self.user() is None else 404, "RepoNotFound", "Repository not found")
        return found

    def revision(self, kind: str | None, repo: str, revision: str | None) -> tuple[str, dict[str, File]]:
        found = self.repository(kind, repo).find(revision or "main")
        if found is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def whoami(self) -> None:
        name = self.writer()
        role = {"accessToken": {"role": "write", "displayName": "tests"}}
        self.send({"type": "user", "name": name, "fullname": name, "orgs": [], "auth": role})

    def validate_card(self) -> None:
        errors = card_errors(json.loads(self.body)["content"])
        self.send({"errors": [{"message": text} for text in errors], "warnings": []}, 400 if errors else 200)

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or self.writer()}/{asked['name']}"
        kind = asked.get("type") or "model"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        with self.hub.lock:
            if (kind, name) in self.hub.repositories:
                self.send({"error": "You already created this repo", "url": url}, 409)
                return
            made = self.hub.repositories[kind, name] = Repository(asked.get("visibility") == "private")
            made.commit(
                {".gitattributes": File(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", False)}, "main"
            )
        self.send({"url": url, "name": name, "id": name})

    def large_batch(self, kind: str | None, repo: str) -> None:
        self.writer()
        self.repository(kind, repo)
        objects = []
        for item in json.loads(self.body)["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.large_files:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/uploads/{item['oid']}", "header": {}}}
            objects.append(answer)
        headers = {"Content-Type": "application/vnd.git-lfs+json"}
        self.send({"transfer": "basic", "objects": objects}, headers=headers)

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise RefusedError(400, "BadRequest", "the content does not fit its id")
        with self.hub.lock:
            late = self.hub.stall_after is not None and len(self.hub.uploads) >= self.hub.stall_after
            if not late:
                self.hub.uploads[oid] += 1
                self.hub.large_files[oid] = self.body
        if late:
            self.hub.stalled.set()
            self.hub.released.wait(120)
            self.close_connection = True
            return
        self.send({})

    def preupload(self, kind: str, repo: str, revision: str) -> None:
        self.writer()
        self.revision(kind, repo, revision)
        files = [
            {"path": item["path"], "uploadMode": "lfs" if item["path"].endswith(LARGE) else "regular", "oid": None}
            for item in json.loads(self.body)["files"]
        ]
        self.send({"files": [file | {"shouldIgnore": False} for file in files]})

    def commit(self, kind: str, repo: str, revision: str) -> None:
        self.writer()
        files = dict(self.revision(kind, repo, revision)[1])
        for line in filter(bytes.strip, self.body.splitlines()):
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif step["key"] == "lfsFile":
                files[value["path"]] = File(self.hub.large_files[value["oid"]], True)
            elif step["key"] == "deletedFile":
                del files[value["path"]]
            elif step["key"] == "deletedFolder":
                files = {name: file for name, file in files.items() if not name.startswith(value["path"])}
        sha = self.repository(kind, repo).commit(files, revision)
        self.send({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def branch(self, kind: str, repo: str, revision: str) -> None:
        self.writer()
        branches = self.repository(kind, repo).branches
        if revision in branches:
            raise RefusedError(409, "Conflict", f"Reference already exists: {revision}")
        asked = json.loads(self.body or b"{}")
        branches[revision] = self.revision(kind, repo, asked.get("startingPoint"))[0]
        self.send({})

    def refs(self, kind: str, repo: str) -> None:
        branches = self.repository(kind, repo).branches.items()
        listed = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in branches]
        self.send({"branches": listed, "converts": [], "tags": []})

    def info(self, kind: str, repo: str, revision: str | None = None) -> None:
        sha, files = self.revision(kind, repo, revision)
        private = self.repository(kind, repo).private
        facts = {"_id": "1", "id": repo, "modelId": repo, "author": repo.partition("/")[0], "sha": sha}
        facts |= {
            "private": private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "createdAt": DATE,
        }
        self.send(facts | {"lastModified": DATE, "siblings": [{"rfilename": name} for name in sorted(files)]})

    def tree(self, kind: str, repo: str, revision: str, folder: str | None = None) -> None:
        _, files = self.revision(kind, repo, revision)
        self.send(tree_entries(files, folder, self.query.get("recursive", "").lower() in ("true", "1")))

    def paths(self, kind: str, repo: str, revision: str) -> None:
        _, files = self.revision(kind, repo, revision)
        is_form = "json" not in self.headers.get("Content-Type", "")
        asked = urllib.parse.parse_qs(self.body.decode()) if is_form else json.loads(self.body)
        self.send(path_entries(files, asked.get("paths", [])))

    def resolve(self, repo: str, revision: str, path: str, kind: str | None = None) -> None:
        sha, files = self.revision(kind, repo, revision)
        if path not in files:
            raise RefusedError(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": sha})
        file, content, status = files[path], files[path].content, 200
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.large:
            headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(content))}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self.send(content, status, headers)


def singular(kind: str | None) -> str:
    """The kind of a repository, from the word in its address."""
    return (kind or "models").removesuffix("s")


REPO = r"(?P<repo>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>models|datasets)/{REPO}"
REVISION = r"(?P<revision>refs/[^/]+/[^/]+|[^/]+)"
ROUTES: list[tuple[str, str, Callable]] = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/validate-yaml", Handler.validate_card),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", rf"/(?:(?P<kind>datasets)/)?{REPO}\.git/info/lfs/objects/batch", Handler.large_batch),
    ("PUT", "/uploads/(?P<oid>[0-9a-f]{64})", Handler.upload),
    ("POST", rf"{API}/preupload/{REVISION}", Handler.preupload),
    ("POST", rf"{API}/commit/{REVISION}", Handler.commit),
    ("POST", rf"{API}/branch/{REVISION}", Handler.branch),
    ("GET", rf"{API}/refs", Handler.refs),
    ("GET", API, Handler.info),
    ("GET", rf"{API}/revision/{REVISION}", Handler.info),
    ("GET", rf"{API}/tree/{REVISION}(?:/(?P<folder>.+))?", Handler.tree),
    ("POST", rf"{API}/paths-info/{REVISION}", Handler.paths),
    ("GET HEAD", rf"/(?:(?P<kind>datasets)/)?{REPO}/resolve/{REVISION}/(?P<path>.+)", Handler.resolve),
]
