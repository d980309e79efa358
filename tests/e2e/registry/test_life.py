"""From an empty store to versions that are pulled, promoted, rolled back and yanked."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.registry import yanks
from ptefoundry.registry.names import Reference
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.yanks import Yank, find_yank, yank
from support.packed import copy_bundle, retrain
from support.places import Place, check_whole
from support.shell import QuickShell, Shell

ADAPTERS = ["xnnpack/base", "xnnpack/blue", "xnnpack/red"]
EXTRA = b"learnt since"
NEW_SIZE = 67_712 + len(EXTRA)


class Published(Shell):
    """A user and a registry with 1.0.0, which is stable, and 1.1.0, which is beta."""

    place: Place
    outputs: dict[str, Any]


@pytest.fixture(scope="module")
def published(
    kind: str, make_place: Callable[[str], Place], tmp_path_factory: pytest.TempPathFactory
) -> Published:
    place, folder = make_place(kind), tmp_path_factory.mktemp("published")
    shell = Published(folder, {**place.environment, "PTEFOUNDRY_REGISTRY": place.url})
    shell.place, shell.outputs = place, {}
    shell.outputs["init"] = shell.json("registry", "init", place.url)
    bundle = copy_bundle(folder / "bundle")
    shell.outputs["1.0.0"] = shell.json(
        "push", "bundle", "--version", "1.0.0", "--channel", "stable", "--reason", "first"
    )
    retrain(bundle, "red", EXTRA)
    shell.outputs["1.1.0"] = shell.json("push", "bundle", "--version", "1.1.0", "--channel", "beta")
    return shell


def _files(folder: Path) -> dict[str, str]:
    """Digests of the models' files."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"manifest.json", "measured.json"}
    }


def test_init_says_what_the_store_can_do(published: Published) -> None:
    made = published.outputs["init"]
    assert made["registry"] == f"{published.place.url}/"
    assert set(made["capabilities"].values()) == {True}
    assert ("lifecycle" in made) == published.place.url.startswith("s3:")


def test_a_push_sends_only_what_is_new(published: Published) -> None:
    first, second = published.outputs["1.0.0"], published.outputs["1.1.0"]
    assert (first["new"], first["known"]["blobs"], first["number"]) == (True, 0, 1)
    assert second["known"]["bytes"] > 500_000
    assert NEW_SIZE < second["sent"]["bytes"] < NEW_SIZE + 16_384


def test_ls_lists_versions_with_their_channels(published: Published) -> None:
    rows = published.json("ls")
    assert [(row["version"], row["channels"], row["yanked"]) for row in rows] == [
        ("1.0.0", ["stable"], None),
        ("1.1.0", ["beta"], None),
    ]
    lines = published.run("ls", "tiny").splitlines()
    assert lines[0].split()[:3] == ["version", "channels", "pushed"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["tiny@1.0.0", "stable"],
        ["tiny@1.1.0", "beta"],
    ]


def test_show_says_what_a_device_needs(published: Published) -> None:
    shown = published.json("show", "tiny:stable")
    assert (shown["version"], shown["digest"]) == ("1.0.0", published.outputs["1.0.0"]["digest"])
    assert [f"{item['backend']}/{item['adapter']}" for item in shown["variants"]] == ADAPTERS
    assert {item["foundation_size"] for item in shown["variants"]} == {402_944}
    assert [item["type"] for item in shown["attached"]] == [
        "application/vnd.cyclonedx+json",
        "application/vnd.ptefoundry.measured.v1+json",
    ]


def test_checks_find_nothing_wrong(published: Published) -> None:
    checked = published.json("verify", "tiny:stable", "--deep")
    assert (checked["version"], checked["deep"], checked["problems"]) == ("1.0.0", True, [])
    found = published.json("fsck")
    assert (found["sound"], found["versions"], found["findings"]) == (True, 2, [])
    assert checked["blobs"] < found["blobs"]


def test_diff_says_what_an_update_moves(published: Published) -> None:
    found = published.json("diff", "tiny:stable", "tiny@1.1.0")
    assert found["moved_bytes"] == NEW_SIZE
    assert found["files"] == [{"path": "xnnpack/red.pte", "before": 67_712, "after": NEW_SIZE}]
    assert f"{NEW_SIZE:,} are to be fetched" in published.run("diff", "tiny:stable", "tiny@1.1.0")


def test_all_or_one_adapter_and_into_an_older_pull(published: Published) -> None:
    one = published.json("pull", "tiny:stable", "--to", "app", "--adapter", "blue")
    assert one["variants"] == ["xnnpack/blue"]
    app = published.folder / "app"
    assert {path.name for path in (app / "xnnpack").iterdir()} == {"foundation.ptd", "blue.pte"}
    all_of_it = published.json("pull", "tiny:stable", "--to", "app", "--backend", "xnnpack")
    assert all_of_it["variants"] == ADAPTERS
    assert all_of_it["received_bytes"] < 120_000
    updated = published.json("pull", "tiny:beta", "--to", "app")
    assert (updated["version"], updated["changed_files"]) == ("1.1.0", 2)
    assert _files(app) == _files(published.folder / "bundle")
    again = published.json("pull", "tiny@1.1.0", "--to", "app")
    assert (again["received_bytes"], again["changed_files"]) == (0, 0)


def test_a_channel_that_names_a_yanked_version_is_not_followed(
    quick_shell: QuickShell, golden: Path
) -> None:
    url = f"file:{golden}"
    note = Yank(name="tiny", version="1.0.0", reason="bad", time="2026-01-01T00:00:00Z", by="ci")
    yank(FileStore(golden), note)
    refused = quick_shell.refuse("pull", url, "tiny:stable", "--to", "app", code=3)
    assert "tiny@1.0.0 was yanked on 2026-01-01T00:00:00Z: bad; app stays as it is" in refused
    assert not (quick_shell.folder / "app").exists()
    quick_shell.run("pull", url, "tiny@1.0.0", "--to", "app")


def test_who_yanks_is_told_of_a_channel_that_was_moved_meanwhile(
    quick_shell: QuickShell, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([[], [Reference("tiny", channel="stable")]])
    monkeypatch.setattr(yanks, "channels_that_name", lambda *_: next(found))
    command = ("yank", f"file:{golden}", "tiny@1.0.0", "--reason", "bad")
    refused = quick_shell.refuse(*command, code=7)
    assert "is yanked, but tiny:stable was moved to it meanwhile" in refused
    assert find_yank(FileStore(golden), "tiny", "1.0.0") is not None


def test_versions_are_promoted_rolled_back_and_yanked(
    shell: Shell, place: Place, bundle: Path
) -> None:
    shell.environment = {**place.environment, "PTEFOUNDRY_REGISTRY": place.url}
    for version in ("1.0.0", "1.1.0"):
        place.publish(bundle, version)
        shell.run("promote", f"tiny@{version}", "stable", "--reason", f"try {version}")
    refused = shell.refuse("yank", "tiny@1.1.0", "--reason", "wrong", code=2)
    assert "tiny:stable does; move it first" in refused
    back = shell.json("rollback", "tiny:stable", "--reason", "wrong answers")
    assert (back["version"], back["number"], back["action"]) == ("1.0.0", 3, "rollback")
    assert "1.1.0 is yanked" in shell.run("yank", "tiny@1.1.0", "--reason", "wrong answers")
    assert "it was yanked" in shell.refuse("promote", "tiny@1.1.0", "stable", code=3)
    assert [row["yanked"] for row in shell.json("ls")] == [None, "wrong answers"]
    output, error = shell.start("pull", "tiny@1.1.0", "--to", "app", "--json").communicate()
    assert json.loads(output)["version"] == "1.1.0"
    assert "warning: tiny@1.1.0 was yanked on " in error
    shell.run("unyank", "tiny@1.1.0")
    shell.run("promote", "tiny@1.1.0", "stable", PTEFOUNDRY_ACTOR="release job")
    history = shell.json("log", "tiny:stable")
    assert [(item["action"], item["version"]) for item in history] == [
        ("promote", "1.1.0"),
        ("rollback", "1.0.0"),
        ("promote", "1.1.0"),
        ("promote", "1.0.0"),
    ]
    assert [item["number"] for item in history] == [4, 3, 2, 1]
    assert [item["reason"] for item in history] == ["", "wrong answers", "try 1.1.0", "try 1.0.0"]
    assert history[0]["by"] == "release job"


def test_a_version_has_one_content(shell: Shell, place: Place, bundle: Path) -> None:
    digest = place.publish(bundle, "1.0.0")
    push = ("push", "bundle", "--registry", place.url, "--version", "1.0.0")
    shell.environment = place.environment
    again = shell.json(*push)
    assert (again["new"], again["digest"], again["sent"]["blobs"]) == (False, digest, 0)
    retrain(bundle, "red", EXTRA)
    refused = shell.refuse(*push, "--channel", "stable", code=7)
    assert f"tiny@1.0.0: expected a new version or the same content, found {digest}" in refused
    assert check_whole(place.open()) == {"tiny@1.0.0": digest}
    assert "found no history" in shell.start("log", place.url).communicate()[1]
