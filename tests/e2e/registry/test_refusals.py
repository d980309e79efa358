"""What goes wrong is said in one line that names it, with the code of its kind."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ptefoundry import retry, s3
from ptefoundry.registry.names import CHANNEL_LIST_KEY, blob_key, ref_key
from support.golden_registry import GOLDEN, PUBLIC_KEY
from support.packed import BUNDLE
from support.seaweedfs import S3Server
from support.shell import PROGRAM, QuickShell, Shell, without_aws
from support.static_server import serve_folder

GOLDEN_URL = f"file:{GOLDEN}"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("ls", 2, "expected a registry, found none: give its address"),
        ("ls ftp://example.com/models", 2, "expected the address of a registry: file:folder"),
        ("ls ./models", 2, "expected the address of a registry: file:folder"),
        ("registry init s3:models", 2, "expected s3://bucket/prefix"),
        ("ls http://example.com/", 2, "http is for this machine alone"),
        ("ls file:nothing", 3, "expected a registry, found no registry.json"),
        ("ls GOLDEN Tiny", 2, "expected a bundle's name"),
        ("show GOLDEN tiny", 3, "expected a version or channel"),
        ("show GOLDEN tiny@9.0.0", 3, "tiny@9.0.0: expected a version, found none"),
        ("pull GOLDEN tiny:nightly --to app", 3, "tiny:nightly: expected a channel, found none"),
        (
            "pull GOLDEN tiny:stable --to app --adapter green",
            2,
            "tiny@1.0.0: expected adapter green, found xnnpack/base, xnnpack/blue, xnnpack/red",
        ),
        (
            "pull GOLDEN tiny:stable --to app --backend mlx",
            2,
            "tiny@1.0.0: expected backend mlx, found xnnpack/base",
        ),
        ("diff GOLDEN tiny@1.0.0", 2, "expected a version or channel, another one after"),
        ("log GOLDEN tiny@1.0.0", 2, "expected a name or name:channel"),
        ("rollback GOLDEN tiny:nightly", 3, "tiny:nightly: expected a channel, found none"),
        ("unyank GOLDEN tiny@9.0.0", 3, "tiny@9.0.0: expected a version, found none"),
        ("promote GOLDEN tiny@9.0.0 nightly", 3, "tiny@9.0.0: expected a version, found none"),
        ("promote GOLDEN tiny@1.1.0 nightly", 3, "it was yanked on"),
        ("promote GOLDEN tiny@1.0.0 stable", 6, "expected a key to sign with"),
        ("push BUNDLE --registry GOLDEN --version v1", 2, "expected a version such as 1.4.0"),
        ("push nothing --registry GOLDEN --version 1.2.0", 3, "expected a bundle's manifest"),
        ("push BUNDLE --registry GOLDEN --version 1.2.0 --key a.pem", 2, "No such file"),
        ("show GOLDEN tiny:stable --trust a.pub", 2, "a.pub: expected a trust policy"),
        ("ls GOLDEN --endpoint-url http://127.0.0.1:1", 2, "is for s3://bucket/prefix alone"),
    ],
)
def test_one_line_says_what_is_wrong(
    quick_shell: QuickShell, command: str, code: int, said: str
) -> None:
    words = command.replace("GOLDEN", GOLDEN_URL).replace("BUNDLE", str(BUNDLE)).split()
    assert said in quick_shell.refuse(*words, code=code)
    assert not (quick_shell.folder / "app").exists()


@pytest.mark.parametrize(
    ("command", "code"), [("show GOLDEN tiny@9.0.0", 3), ("yank GOLDEN tiny@1.0.0 --reason x", 2)]
)
def test_so_does_the_process(shell: Shell, command: str, code: int) -> None:
    assert "tiny@" in shell.refuse(*command.replace("GOLDEN", GOLDEN_URL).split(), code=code)


def test_s3_refuses_bad_credentials(shell: Shell, s3_server: S3Server) -> None:
    shell.environment = s3_server.environment()
    url = "s3://models/refusals"
    unknown = shell.refuse("ls", url, code=4, AWS_ACCESS_KEY_ID="somebody")
    assert "s3://models/refusals/registry.json: the store answered InvalidAccessKeyId" in unknown
    wrong = shell.refuse("registry", "init", url, code=4, AWS_SECRET_ACCESS_KEY="wrong")
    assert "the secret key is wrong" in wrong
    assert "found no registry.json" in shell.refuse("ls", url, code=3)
    shell.environment = without_aws(shell.environment)
    assert "found no S3 credentials; set AWS_PROFILE" in shell.refuse("ls", url, code=4)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://models/down", "s3://models/down/registry.json: the store could not be used"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1/registry.json: the connection failed"),
    ],
)
def test_a_store_that_is_down_is_said(
    quick_shell: QuickShell, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setattr(s3, "_TRIES", 2)
    monkeypatch.setattr(retry, "RETRY_DELAYS_S", (0.0,))
    down = S3Server("http://127.0.0.1:1").environment()
    assert quick_shell.refuse("ls", url, code=4, **down).startswith(said)


def test_a_document_that_grew_ends_no_fsck(shell: Shell, golden: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        digest = json.loads((golden / ref_key("tiny", version)).read_bytes())["digest"]
        with (golden / blob_key(digest)).open("ab") as index:
            index.write(b" ")
    said = shell.run("fsck", f"file:{golden}", code=6)
    assert said.count(": size: expected") == 2
    assert "in no version that could be read" in said
    refused = shell.refuse("pull", f"file:{golden}", "tiny:stable", "--to", "app", code=3)
    assert "found more; it was altered" in refused


def test_over_http_a_registry_is_read_and_not_written(shell: Shell) -> None:
    with serve_folder(GOLDEN) as server:
        shell.environment = {
            "PTEFOUNDRY_REGISTRY": server.url,
            "PTEFOUNDRY_TRUST": str(PUBLIC_KEY),
        }
        assert [row["version"] for row in shell.json("ls")] == ["1.0.0", "1.1.0"]
        assert shell.json("ls") == shell.json("ls", PTEFOUNDRY_REGISTRY=GOLDEN_URL)
        assert shell.json("log") == shell.json("log", PTEFOUNDRY_REGISTRY=GOLDEN_URL)
        assert shell.json("log", "tiny:stable")[0]["action"] == "rollback"
        pulled = shell.json("pull", "tiny:stable", "--to", "app")
        assert len(pulled["signatures"]) == 4
        assert "a web server does not say what it holds" in shell.refuse("fsck", code=4)
        refused = shell.refuse("push", str(BUNDLE), "--version", "2.0.0", code=4)
        assert "over http a registry can only be read" in refused


def test_over_http_a_registry_is_mirrored_with_its_channels(shell: Shell) -> None:
    with serve_folder(GOLDEN) as server:
        shell.run("registry", "init", "file:copy")
        copied = shell.json("mirror", server.url, "file:copy")
    assert copied["channels"] == {"tiny:beta": 1, "tiny:stable": 3}
    assert shell.json("ls", "file:copy") == shell.json("ls", GOLDEN_URL)


def test_an_old_registry_does_not_say_which_channels_it_has(shell: Shell, golden: Path) -> None:
    (golden / CHANNEL_LIST_KEY).unlink()
    with serve_folder(golden) as server:
        output, error = shell.start("ls", server.url, "--json").communicate()
        assert [row["channels"] for row in json.loads(output)] == [None, None]
        assert "so nobody can say which channels there are" in error
        assert "name one (name:channel)" in shell.refuse("log", server.url, code=3)
        assert shell.json("log", server.url, "tiny:stable")[0]["action"] == "rollback"
        shell.run("registry", "init", "file:copy")
        output, error = shell.start("mirror", server.url, "file:copy", "--json").communicate()
        assert json.loads(output)["channels"] is None
        assert "does not say which channels it has" in error
        assert shell.json("fsck", f"file:{golden}", "--repair")["sound"]
        assert [row["channels"] for row in shell.json("ls", server.url)] == [["stable"], ["beta"]]


def test_a_workspace_names_its_registry_and_whom_it_trusts(shell: Shell, golden: Path) -> None:
    shell.run("init", "workspace", "--base", "hf:example/tiny@main", "--no-fetch")
    shell.folder /= "workspace"
    shutil.copy(PUBLIC_KEY, shell.folder / "release.pem")
    with (shell.folder / "params.yaml").open("a") as params:
        params.write(f"registry:\n  url: file:{golden}\ntrust:\n  keys:\n    - key: release.pem\n")
    assert len(shell.json("pull", "tiny:stable", "--to", "app")["signatures"]) == 4
    assert "expired on 2025-10-11" in shell.refuse("pull", "tiny:beta", "--to", "app", code=6)
    # The variable is the more particular of the two.
    assert "nowhere" in shell.refuse("ls", code=3, PTEFOUNDRY_REGISTRY="file:nowhere")


@pytest.mark.parametrize("changes", [{}, {"CI": "1"}, {"HOME": "/nonexistent", "CI": "true"}])
def test_any_environment_will_do(shell: Shell, tmp_path: Path, changes: dict[str, str]) -> None:
    cache = str(tmp_path / "cache")
    where = {"PTEFOUNDRY_CACHE": cache} if "HOME" in changes else {}
    pulled = shell.json("pull", GOLDEN_URL, "tiny:stable", "--to", "app", **changes, **where)
    assert pulled["received_bytes"] > 500_000
    assert (tmp_path / "home" / ".cache" / "ptefoundry").is_dir() == ("HOME" not in changes)


def test_a_reader_who_goes_away_is_no_bug(shell: Shell) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{PROGRAM}' log '{GOLDEN_URL}' --json | head -c 1"],
        env={"PATH": os.defpath, "HOME": str(shell.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[", "")


def test_cache_and_keys_answer_in_json(shell: Shell) -> None:
    made = shell.json("keys", "generate", "--out", "release.pem")
    (shown,) = shell.json("keys", "show", "release.pub")
    assert shown["id"] == made["id"]
    assert (shell.folder / "release.pem").stat().st_mode & 0o777 == 0o600
    assert shell.json("cache", "ls") == []
    assert json.loads(shell.run("cache", "prune", "--max-size", "0", "--json"))["blobs"] == 0
