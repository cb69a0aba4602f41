# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a Hub keeps, and its rules for cards."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml


@dataclass
class File:
    """A file's content and how it is kept."""

    content: bytes
    large: bool

    @property
    def git_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content, usedforsecurity=False).hexdigest()

    @property
    def etag(self) -> str:
        return hashlib.sha256(self.content).hexdigest() if self.large else self.git_id

    def entry(self, path: str) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.git_id}
        if self.large:
            entry["lfs"] = {"oid": self.etag, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Repository:
    """Commits, by their ids, and the branches that point at them."""

    private: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, File], branch: str) -> str:
        text = json.dumps([len(self.commits), branch, [(name, file.etag) for name, file in sorted(files.items())]])
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def find(self, revision: str) -> tuple[str, dict[str, File]] | None:
        sha = self.branches.get(revision.removeprefix("refs/heads/"), revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


class RefusedError(Exception):
    """An answer that is an error of the Hub."""

    def __init__(self, status: int, code: str, message: str = "", **headers: str) -> None:
        super().__init__(message or code)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": message or code, **headers}


def folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


def tree_entries(files: dict[str, File], folder: str | None, recursive: bool) -> list[dict[str, Any]]:
    """What lies in a folder, or in the whole repository."""
    start = f"{folder}/" if folder else ""
    inside = {name: file for name, file in sorted(files.items()) if name.startswith(start)}
    if start and not inside:
        raise RefusedError(404, "EntryNotFound", f"{folder} does not exist")
    if recursive:
        folders = {start + str(parent) for name in inside for parent in PurePosixPath(name[len(start) :]).parents}
        folders.discard(f"{start}.")
    else:
        folders = {start + name[len(start) :].partition("/")[0] for name in inside if "/" in name[len(start) :]}
        inside = {name: file for name, file in inside.items() if "/" not in name[len(start) :]}
    return [folder_entry(name) for name in sorted(folders)] + [file.entry(name) for name, file in inside.items()]


def path_entries(files: dict[str, File], paths: list[str]) -> list[dict[str, Any]]:
    """The files and folders among these paths."""
    entries = [files[path].entry(path) for path in paths if path in files]
    folders = [path for path in paths if any(name.startswith(f"{path}/") for name in files)]
    return entries + [folder_entry(path) for path in folders]


def card_errors(text: str) -> list[str]:
    """What is wrong with a card's front matter, by the rules of the Hub for the fields that we write."""
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return ["the card has no front matter"]
    data = yaml.safe_load(parts[1])
    errors = [
        f"{name} must be a text" for name in ("license", "pipeline_tag") if not isinstance(data.get(name, ""), str)
    ]
    errors += [f"{name} must be a list of texts" for name in ("tags", "metrics") if not texts(data.get(name, []))]
    if data.get("license") == "other" and not {"license_name", "license_link"} <= data.keys():
        errors.append("another license needs license_name and license_link")
    for entry in data.get("model-index", []):
        for result in entry["results"]:
            whole = {"type", "name"} <= result["dataset"].keys() and "type" in result["task"]
            if not (whole and all({"type", "value"} <= metric.keys() for metric in result["metrics"])):
                errors.append(f"model-index: {result} is not whole")
    return errors


def texts(value: Any) -> bool:
    """Whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
