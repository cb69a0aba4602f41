# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The double answers huggingface_hub and datasets as the Hub does, for data sets and their revisions."""

import json
import subprocess
import sys

import pytest

from .hub_double import HubDouble
from .hub_store import card_errors


HALF_A_RESULT = "{task: {type: t}, dataset: {name: d}, metrics: []}"
SCRIPT = """
import json, sys
from pathlib import Path
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

work = Path(sys.argv[1])
(work / "set" / "data").mkdir(parents=True)
Dataset.from_dict({"n": [1, 2, 3]}).to_parquet(work / "set" / "data" / "train.parquet")
(work / "set" / "README.md").write_text("---\\nlicense: mit\\n---\\n")
api, repo = HfApi(), "org/numbers"
api.create_repo(repo, repo_type="dataset", visibility="private")
first = api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=work / "set").oid
api.upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=b"new", path_in_repo="data/note.txt")
api.create_branch(repo, repo_type="dataset", branch="old", revision=first)
found = {
    "rows": load_dataset(repo, split="train")["n"][:],
    "stream": [row["n"] for row in load_dataset(repo, split="train", streaming=True)],
    "files": sorted(api.list_repo_files(repo, repo_type="dataset")),
    "old": sorted(api.list_repo_files(repo, repo_type="dataset", revision="old")),
    "tree": sorted(item.path for item in api.list_repo_tree(repo, repo_type="dataset")),
    "user": api.whoami()["name"],
    "private": api.dataset_info(repo).private,
}
refused = []
for kind, call in {
    EntryNotFoundError: lambda: hf_hub_download(repo, "none.txt", repo_type="dataset"),
    RevisionNotFoundError: lambda: hf_hub_download(repo, "README.md", repo_type="dataset", revision="none"),
    RepositoryNotFoundError: lambda: api.dataset_info(repo, token=False),
}.items():
    try:
        call()
    except kind:
        refused.append(kind.__name__)
print(json.dumps(found | {"refused": refused}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    (work / "script.py").write_text(SCRIPT, encoding="utf-8")
    with HubDouble() as hub:
        command = [sys.executable, str(work / "script.py"), str(work)]
        environment = hub.environment(work / "home")
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert {path.split("/")[1] for _, path in hub.requests} >= {"api", "datasets"}
        assert hub.files("org/numbers", kind="dataset")["data/note.txt"].content == b"new"
    return json.loads(done.stdout.splitlines()[-1])


def test_data_sets_are_loaded_and_streamed(found):
    assert found["rows"] == found["stream"] == [1, 2, 3]
    assert (found["user"], found["private"]) == ("org", True)


def test_branches_keep_what_they_point_at(found):
    assert found["files"] == [".gitattributes", "README.md", "data/note.txt", "data/train.parquet"]
    assert found["old"] == [".gitattributes", "README.md", "data/train.parquet"]
    assert found["tree"] == [".gitattributes", "README.md", "data"]


def test_refusals_are_those_of_the_hub(found):
    assert found["refused"] == ["EntryNotFoundError", "RevisionNotFoundError", "RepositoryNotFoundError"]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# no front matter\n", "no front matter"),
        ("---\nlicense: [mit]\n---\n", "license must be a text"),
        ("---\ntags: one\n---\n", "tags must be a list"),
        ("---\nlicense: other\n---\n", "license_name"),
        (f"---\nmodel-index: [{{name: a, results: [{HALF_A_RESULT}]}}]\n---\n", "whole"),
    ],
)
def test_bad_cards_are_refused(card, message):
    assert message in " ".join(card_errors(card))


def test_good_cards_pass():
    assert card_errors("---\nlicense: mit\ntags:\n- a\n---\ntext\n") == []
