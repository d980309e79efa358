"""A bad first release: there is nothing to go back to, so it is withdrawn."""

from pathlib import Path

import pytest

from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.yanks import find_yank
from support.packed import retrain
from support.places import Place
from support.reference_clients import ReferenceClient, python_client, typescript_client
from support.shell import Shell
from support.static_server import serve_folder

REASON = "answers in the wrong language"


@pytest.fixture
def kind() -> str:
    """One store is enough here, and web servers serve folders."""
    return "file"


@pytest.fixture
def released(shell: Shell, place: Place, bundle: Path) -> Shell:
    """A user whose registry has one version, which is stable."""
    shell.environment = {"PTEFOUNDRY_REGISTRY": place.url}
    shell.run("push", str(bundle), "--version", "1.0.0", "--channel", "stable")
    shell.run("promote", "tiny@1.0.0", "beta")
    return shell


def test_a_first_release_is_withdrawn(released: Shell, bundle: Path) -> None:
    shell, yank = released, ("yank", "tiny@1.0.0", "--reason", REASON)
    shell.run("pull", "tiny:stable", "--to", "old")
    nowhere = shell.refuse("rollback", "tiny:stable", code=3)
    assert "`ptefoundry yank NAME@1.0.0 --reason ... --force` withdraws it" in nowhere
    refused = shell.refuse(*yank, code=2)
    assert "found that tiny:beta, tiny:stable does" in refused
    assert "--force withdraws this one" in refused

    said = shell.run(*yank, "--force")
    assert f"tiny@1.0.0 is yanked: {REASON}\nwithdrawn from tiny:beta, tiny:stable" in said
    for folder in ("old", "new"):
        pulled = shell.refuse("pull", "tiny:stable", "--to", folder, code=3)
        assert f": {REASON}; {folder} stays as it is" in pulled
    assert (shell.folder / "old" / "manifest.json").exists()
    assert not (shell.folder / "new").exists()
    assert shell.json("show", "tiny:stable")["yanked"] == REASON
    assert f"yanked: {REASON}" in shell.run("ls")
    assert shell.json("fsck")["sound"]
    again = ("push", str(bundle), "--version", "1.0.0", "--channel", "stable")
    assert "it was yanked on" in shell.refuse(*again, code=3)
    assert "it was yanked on" in shell.refuse("promote", "tiny@1.0.0", "stable", code=3)

    retrain(bundle, "red", b"learnt since")
    shell.run("push", str(bundle), "--version", "1.0.1")
    shell.run("promote", "tiny@1.0.1", "stable", "--reason", "the right language")
    for folder in ("old", "new"):
        assert shell.json("pull", "tiny:stable", "--to", folder)["version"] == "1.0.1"
    history = shell.json("log", "tiny:stable")
    assert [(item["action"], item["version"], item["yanked"]) for item in history] == [
        ("promote", "1.0.1", None),
        ("push", "1.0.0", REASON),
    ]
    assert f"yanked: {REASON}" in shell.run("log", "tiny:stable")
    assert "it was yanked on" in shell.refuse("rollback", "tiny:stable", code=3)


@pytest.mark.parametrize("language", ["python", "typescript"])
def test_apps_refuse_it_with_the_reason(released: Shell, tmp_path: Path, language: str) -> None:
    client: ReferenceClient = (
        python_client() if language == "python" else typescript_client(tmp_path / "client")
    )
    folder = Path(released.environment["PTEFOUNDRY_REGISTRY"].removeprefix("file:"))
    with serve_folder(folder) as server:
        device = client.on(server.url, tmp_path / "device")
        released.run("yank", "tiny@1.0.0", "--reason", REASON, "--force")
        refusal = device.refusal("tiny:stable", runtime="any")
        assert refusal.startswith("error (yanked)")
        assert REASON in refusal
        assert device.answer("plan", "tiny@1.0.0", runtime="any")["yanked"] == REASON


def test_who_withdraws_may_take_it_back(released: Shell) -> None:
    released.run("yank", "tiny@1.0.0", "--reason", REASON, "--force")
    released.run("unyank", "tiny@1.0.0")
    folder = Path(released.environment["PTEFOUNDRY_REGISTRY"].removeprefix("file:"))
    assert find_yank(FileStore(folder), "tiny", "1.0.0") is None
    assert released.json("pull", "tiny:stable", "--to", "app")["version"] == "1.0.0"
