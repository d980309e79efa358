"""Keys, signatures, and whatever somebody changes behind the registry's back."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.registry.trust.build_record import GitState
from ptefoundry.registry.trust.kept_record import describe_bundle, keep_record
from ptefoundry.registry.trust.signed_content import files_of_packed
from support.golden_registry import GOLDEN, PUBLIC_KEY
from support.packed import BUNDLE, pack
from support.places import Place
from support.shell import QuickShell, Shell

VERSION_SIGNATURE = "version.0bcc8908c3cc5f2c.sig"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.1.0, pulled before anything was altered."""
    shell = Shell(tmp_path_factory.mktemp("older"))
    url = f"file:{GOLDEN}"
    shell.run("pull", url, "tiny@1.1.0", "--to", "app", "--trust", str(PUBLIC_KEY))
    return shell.folder / "app"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _write(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def _flip(path: Path) -> str:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    _write(path, data)
    return path.name


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    fields = json.loads(path.read_text())
    change(fields)
    _write(path, json.dumps(fields, separators=(",", ":"), sort_keys=True).encode())
    return path.name


def _blob(registry: Path, digest: str) -> Path:
    return registry / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _index(registry: Path) -> Path:
    return _blob(registry, json.loads((registry / "refs/tiny/1.0.0.json").read_text())["digest"])


def _manifest(registry: Path) -> Path:
    """Of adapter red, whose program is another one in 1.1.0."""
    (entry,) = (
        item
        for item in json.loads(_index(registry).read_text())["manifests"]
        if item["annotations"]["org.ptefoundry.adapter"] == "red"
    )
    return _blob(registry, entry["digest"])


def _layer(manifest: Path, title: str) -> Path:
    (layer,) = (
        item
        for item in json.loads(manifest.read_text())["layers"]
        if item["annotations"]["org.opencontainers.image.title"] == title
    )
    return manifest.with_name(layer["digest"].removeprefix("sha256:"))


def _referrers(registry: Path) -> Path:
    return registry / "referrers" / "sha256" / f"{_index(registry).name}.json"


def _signatures(registry: Path) -> Path:
    return _blob(registry, json.loads(_referrers(registry).read_text())["manifests"][0]["digest"])


def _alter_ref(registry: Path) -> str:
    other = json.loads((registry / "refs/tiny/1.1.0.json").read_text())
    pointed = {name: other[name] for name in ("digest", "size")}
    _edit(registry / "refs/tiny/1.0.0.json", lambda ref: ref.update(pointed))
    return other["digest"]


def _alter_pointer(registry: Path) -> str:
    def name_another(envelope: dict[str, Any]) -> None:
        payload = base64.b64decode(envelope["payload"]).replace(b'"1.0.0"', b'"1.1.0"')
        envelope["payload"] = base64.b64encode(payload).decode()

    return "channels/tiny/" + _edit(registry / "channels/tiny/stable.json", name_another)


def _unsign_pointer(registry: Path) -> str:
    pointer = registry / "channels/tiny/stable.json"
    return "channels/tiny/" + _edit(pointer, lambda envelope: envelope.update(signatures=[]))


def _remove_signatures(registry: Path) -> str:
    _edit(_referrers(registry), lambda index: index["manifests"].pop(0))
    return "tiny@1.0.0"


def _cut_referrers(registry: Path) -> str:
    path = _referrers(registry)
    _write(path, path.read_bytes()[:-1])
    return path.name


def _remove_program(registry: Path) -> str:
    program = _layer(_manifest(registry), "xnnpack/red.pte")
    program.unlink()
    return program.name


@pytest.mark.parametrize(
    ("reference", "alter", "code"),
    [
        ("tiny@1.0.0", _alter_ref, 6),
        ("tiny:stable", _alter_pointer, 6),
        ("tiny:stable", _unsign_pointer, 6),
        ("tiny:stable", lambda registry: _flip(_index(registry)), 3),
        ("tiny:stable", lambda registry: _flip(_manifest(registry)), 4),
        ("tiny:stable", lambda registry: _flip(_layer(_manifest(registry), "xnnpack/red.pte")), 4),
        ("tiny:stable", _remove_program, 3),
        ("tiny:stable", lambda registry: _flip(_layer(_manifest(registry), "manifest.json")), 4),
        ("tiny:stable", lambda registry: _flip(_signatures(registry)), 3),
        (
            "tiny:stable",
            lambda registry: _flip(_layer(_signatures(registry), VERSION_SIGNATURE)),
            3,
        ),
        ("tiny:stable", _cut_referrers, 3),
        ("tiny@1.0.0", _remove_signatures, 6),
    ],
    ids=[
        *("ref", "pointer", "unsigned-pointer", "index", "manifest", "layer", "missing-layer"),
        *("listing", "signatures", "signature", "referrers", "unsigned-version"),
    ],
)
def test_what_was_altered_is_named_and_changes_nothing(
    quick_shell: QuickShell,
    golden: Path,
    older: Path,
    reference: str,
    alter: Callable[[Path], str],
    code: int,
) -> None:
    app = Path(shutil.copytree(older, quick_shell.folder / "app"))
    before = _files(app)
    named = alter(golden)
    refused = quick_shell.refuse(
        *("pull", f"file:{golden}", reference, "--to", "app", "--trust", str(PUBLIC_KEY)),
        code=code,
    )
    assert named in refused
    assert _files(app) == before
    assert [path.name for path in quick_shell.folder.iterdir() if path.name.startswith(".")] == []


def test_an_older_pointer_is_refused_by_who_has_seen_a_newer_one(
    shell: Shell, golden: Path
) -> None:
    shell.environment = {"PTEFOUNDRY_TRUST": str(PUBLIC_KEY)}
    pull = ("pull", f"file:{golden}", "tiny:stable", "--to", "app")
    shell.run(*pull)
    first = (golden / "channels/tiny/stable/00000001.json").read_bytes()
    _write(golden / "channels/tiny/stable.json", first)
    refused = shell.refuse(*pull, code=6)
    assert "expected record number 3 or a newer one, found 1" in refused


def test_from_a_new_key_to_a_pull_that_trusts_it(
    shell: Shell, make_place: Callable[[str], Place]
) -> None:
    place = make_place("file").init()
    shell.environment = {"PTEFOUNDRY_REGISTRY": place.url}
    mine = shell.json("keys", "generate", "--out", "mine.pem")["id"][:16]
    shell.run("keys", "generate", "--out", "other.pem", PTEFOUNDRY_KEY_PASSPHRASE="secret")
    push = ("push", str(BUNDLE), "--version", "1.0.0", "--channel", "stable", "--trust", "mine.pub")
    sign = ("--key", "mine.pem")
    assert "--key or PTEFOUNDRY_SIGNING_KEY" in shell.refuse(*push, "--valid", "7d", code=6)
    assert "--valid 7d" in shell.refuse(*push, *sign, code=6)
    assert shell.json("ls") == []
    shell.run(*push, *sign, "--valid", "7d")
    pulled = shell.json("pull", "tiny:stable", "--to", "app", "--trust", "mine.pub")
    assert f"version.{mine}.sig" in pulled["signatures"]
    app = shell.folder / "app"
    signature = app / "signatures" / f"version.{mine}.sig"
    verified = _model_signing(app, signature, shell.folder / "mine.pub")
    assert verified.stdout == "Verification succeeded\n", verified.stderr
    assert shell.json("verify", "app", "--trust", "mine.pub")["version"] == "1.0.0"
    other = shell.refuse("verify", "app", "--trust", "other.pub", code=6)
    assert f"found only '{mine}'" in other
    pull = ("pull", "tiny:stable", "--to", "app", "--trust")
    assert f"found only '{mine}'" in shell.refuse(*pull, "other.pub", code=6)
    moved = shell.refuse("promote", "tiny@1.0.0", "stable", "--valid", "7d", code=6)
    assert "as the record before is signed" in moved
    encrypted = shell.refuse(*push, "--key", "other.pem", "--valid", "7d", code=2)
    assert "the key is encrypted; see PTEFOUNDRY_KEY_PASSPHRASE" in encrypted


def test_the_stock_command_accepts_what_was_pulled_and_nothing_else(shell: Shell) -> None:
    shell.run("pull", f"file:{GOLDEN}", "tiny@1.1.0", "--adapter", "red", "--to", "app")
    app = shell.folder / "app"
    (path,) = (app / "signatures").glob("xnnpack.red.*.sig")
    done = _model_signing(app, path, PUBLIC_KEY)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
    _flip(app / "xnnpack" / "red.pte")
    done = _model_signing(app, path, PUBLIC_KEY)
    assert done.returncode == 1
    assert "Hash mismatch for 'xnnpack/red.pte'" in done.stderr.replace("\\", "")


def _model_signing(folder: Path, signature: Path, key: Path) -> "subprocess.CompletedProcess[str]":
    """What docs/trust.md tells a stranger to run."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(signature), "--public_key", str(key)]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_a_version_that_nobody_signed_is_signed_by_pushing_it_again(
    shell: Shell, make_place: Callable[[str], Place]
) -> None:
    place = make_place("s3").init()
    shell.environment = place.environment
    shell.run("keys", "generate")
    policy = ("--trust", "signing-key.pub")
    push = ("push", str(BUNDLE), "--registry", place.url, "--version", "1.0.0", *policy)
    output, error = shell.start(*push).communicate()
    assert output.startswith("tiny@1.0.0 is sha256:")
    assert "is not signed: clients with this trust policy will refuse it" in error
    pull = ("pull", place.url, "tiny@1.0.0", "--to", "app", *policy)
    assert "expected a signature of the whole version" in shell.refuse(*pull, code=6)
    shell.run(*push, "--key", "signing-key.pem")
    shell.run(*pull)


def test_what_is_attached_is_read_and_checked(
    shell: Shell, make_place: Callable[[str], Place], bundle: Path
) -> None:
    place = make_place("file").init()
    shell.environment = {"PTEFOUNDRY_REGISTRY": place.url}
    shell.run("keys", "generate")
    packed = pack(bundle, version="1.0.0").packed
    record = describe_bundle(packed.bundle, files_of_packed(packed))
    keep_record(bundle, replace(record, git=GitState(commit="c0ffee" * 6 + "beef")))
    shell.run("push", str(bundle), "--version", "1.0.0", "--key", "signing-key.pem")
    said = shell.run("verify", "tiny@1.0.0", "--trust", "signing-key.pub")
    assert f"from git#{'c0ffee' * 6}beef" in said
    show = ("show", "tiny@1.0.0", "--attachment")
    (bill,) = shell.json(*show, "sbom", "--to", "attached")
    assert json.loads((shell.folder / bill).read_text())["bomFormat"] == "CycloneDX"
    (stated,) = shell.json(*show, "provenance", "--to", "attached")
    assert stated.endswith(".sigstore.json")
    assert len(shell.json(*show, "signatures", "--to", "attached")) == 4
    assert "nothing of 'a/b'" in shell.refuse(*show, "a/b", "--to", "x", code=2)
    assert "together" in shell.refuse(*show, "sbom", code=2)


def test_keys_are_changed_without_losing_a_channel(
    shell: Shell, make_place: Callable[[str], Place]
) -> None:
    place = make_place("file").init()
    shell.environment = {"PTEFOUNDRY_REGISTRY": place.url}
    old, new = ("--key", "old.pem"), ("--key", "new.pem", "--trust", "new.pub")
    for name in ("old", "new"):
        shell.run("keys", "generate", "--out", f"{name}.pem")
    push = ("push", str(BUNDLE), "--version")
    for version in ("1.0.0", "1.1.0"):
        shell.run(*push, version, "--channel", "stable", "--valid", "7d", *old)
    for command in (("promote", "tiny@1.1.0", "stable"), ("rollback", "tiny:stable")):
        assert "--adopt 2" in shell.refuse(*command, "--valid", "7d", *new, code=6)
    adopt = ("promote", "tiny@1.1.0", "stable", "--valid", "7d", "--adopt", "2", *new)
    assert "by pushing the same bundle again with --key" in shell.refuse(*adopt, code=6)
    shell.run(*push, "1.1.0", *new)
    shell.run(*adopt)
    steps = shell.json("log", "--trust", "new.pub")
    assert [step["refusal"] is None for step in steps] == [True, False, False]
    assert "not accepted by the trust policy" in shell.run("log", "--trust", "new.pub")
    shell.run("pull", "tiny:stable", "--to", "app", "--trust", "new.pub")
    faults = shell.start("fsck", "--trust", "new.pub", "--json")
    findings = json.loads(faults.communicate()[0])["findings"]
    assert [finding["key"] for finding in findings] == ["refs/tiny/1.0.0.json"]
    assert faults.returncode == 6
    shell.refuse("mirror", place.url, place.url, "--trust", "new.pub", code=6)


def test_a_channel_that_expired_is_refused_until_it_is_refreshed(
    shell: Shell, make_place: Callable[[str], Place]
) -> None:
    place = make_place("file").init()
    place.publish(BUNDLE, "1.0.0")
    shell.environment = {**place.environment, "PTEFOUNDRY_REGISTRY": place.url}
    promote = ("promote", "tiny@1.0.0", "stable", "--valid")
    shell.run(*promote, "1s")
    show = ("show", "tiny:stable")
    assert "the channel was not refreshed" in _until_refused(shell, *show)
    assert shell.json(*promote, "1h")["action"] == "refresh"
    shell.run(*show)


def _until_refused(shell: Shell, *arguments: str) -> str:
    while True:
        process = shell.start(*arguments)
        _, error = process.communicate()
        if process.returncode:
            return error.splitlines()[-1]
