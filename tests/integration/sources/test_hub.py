import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_hub import COMMIT, TOKEN, FakeHub
from http_server import Faults

FetchProcess = Callable[..., dict[str, Any]]

SPEC = "hf:org/tiny@main"
PINNED = f"hf:org/tiny@{COMMIT}"
WEIGHTS = "model.safetensors"


def test_one_form_of_the_weights_and_what_belongs_to_it(
    hub: FakeHub, fetch_from_hub: FetchProcess, into: Path
) -> None:
    result = fetch_from_hub(SPEC)

    assert sorted(result["files"]) == ["config.json", WEIGHTS, "tokenizer.json"]
    assert sorted(hub.downloads()) == ["config.json", WEIGHTS, "tokenizer.json"]
    assert (into / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_branch_is_reported_as_the_commit_to_pin(fetch_from_hub: FetchProcess) -> None:
    assert fetch_from_hub(SPEC)["resolved"] == COMMIT


def test_pinned_commit_is_not_looked_up(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    assert fetch_from_hub(PINNED)["resolved"] is None
    assert not any("/revision/" in path for path in hub.server.paths())


def test_branch_with_a_slash(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    hub.branches["refs/pr/1"] = COMMIT

    assert fetch_from_hub("hf:org/tiny@refs%2Fpr%2F1")["resolved"] == COMMIT


def test_original_form_keeps_its_folder(
    hub: FakeHub, fetch_from_hub: FetchProcess, into: Path
) -> None:
    hub.files = {name: data for name, data in hub.files.items() if name != WEIGHTS}

    result = fetch_from_hub(SPEC)

    assert "original/consolidated.00.pth" in result["files"]
    assert "original/params.json" in result["files"]


def test_file_named_in_the_spec(hub: FakeHub, fetch_from_hub: FetchProcess, into: Path) -> None:
    hub.files = {**hub.files, "quants/a.gguf": b"a", "quants/b.gguf": b"b"}

    result = fetch_from_hub(f"{SPEC}/quants/b.gguf")

    assert result["files"] == {"b.gguf": 1}
    assert result["digest"] == hashlib.sha256(b"b").hexdigest()


def test_several_gguf_files_are_refused_by_name(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    hub.files = {"a.gguf": b"a", "b.gguf": b"b"}

    result = fetch_from_hub(SPEC)

    assert result["error"] == "SourceError"
    assert "a.gguf, b.gguf" in result["text"]
    assert hub.downloads() == []


def test_folder_named_in_the_spec(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    hub.files = {
        "adapters/tidy/adapter_config.json": b"{}",
        "adapters/tidy/adapter_model.safetensors": b"w",
        "adapters/tidy/optimizer.pt": b"pickle",
    }

    result = fetch_from_hub(f"{SPEC}/adapters/tidy", adapter=True)

    assert sorted(result["files"]) == ["adapter_config.json", "adapter_model.safetensors"]


def test_pickled_adapter_is_not_fetched(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    hub.files = {"adapter_config.json": b"{}", "adapter_model.bin": b"pickle"}

    result = fetch_from_hub(SPEC, adapter=True)

    assert "adapter_model.bin can run code" in result["text"]
    assert hub.downloads() == []


def test_misspelt_path_shows_near_ones(fetch_from_hub: FetchProcess) -> None:
    result = fetch_from_hub(f"{SPEC}/modle.safetensors")

    assert "'modle.safetensors'" in result["text"]
    assert WEIGHTS in result["text"]


def test_gated_model_without_login_tells_how_to_log_in(
    hub: FakeHub, fetch_from_hub: FetchProcess, into: Path
) -> None:
    hub.gated = True

    result = fetch_from_hub(SPEC)

    assert result["error"] == "SourceError"
    assert f"{hub.url}/org/tiny and accept its licence" in result["text"]
    assert "`hf auth login`" in result["text"]
    assert not into.exists()


def test_gated_model_with_a_login_without_access(
    hub: FakeHub, fetch_from_hub: FetchProcess
) -> None:
    hub.gated = True

    result = fetch_from_hub(SPEC, env={"HF_TOKEN": "hf_other"})

    assert "your login has no access" in result["text"]


def test_login_opens_a_gated_model_and_stays_on_the_hub(
    hub: FakeHub, fetch_from_hub: FetchProcess
) -> None:
    hub.gated = True

    result = fetch_from_hub(SPEC, env={"HF_TOKEN": TOKEN})

    assert WEIGHTS in result["files"]
    assert hub.cdn.requests
    assert not any("authorization" in request.headers for request in hub.cdn.requests)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("hf:org/other@main", "no model 'org/other', or it is private"),
        ("hf:org/tiny@v9", "no revision 'v9'"),
        (f"hf:org/tiny@{'9' * 40}", "no revision"),
    ],
)
def test_unknown_names(spec: str, says: str, fetch_from_hub: FetchProcess) -> None:
    result = fetch_from_hub(spec)

    assert result["error"] == "SourceError"
    assert says in result["text"]


def test_offline_mode_is_named(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    result = fetch_from_hub(SPEC, env={"HF_HUB_OFFLINE": "1"})

    assert "HF_HUB_OFFLINE" in result["text"]
    assert hub.server.requests == []


def test_unreachable_hub(fetch_from_hub: FetchProcess) -> None:
    result = fetch_from_hub(SPEC, env={"HF_ENDPOINT": "http://127.0.0.1:9"})

    assert result["error"] == "SourceError"
    assert "http://127.0.0.1:9/org/tiny cannot be reached" in result["text"]


def test_pinned_content_comes_from_the_cache_offline(
    fetch_from_hub: FetchProcess, into: Path
) -> None:
    digest = fetch_from_hub(SPEC)["digest"]

    result = fetch_from_hub(SPEC, digest=digest, env={"HF_HUB_OFFLINE": "1"})

    assert result["digest"] == digest
    assert (into / WEIGHTS).exists()


def test_flipped_bit_is_refused_though_nothing_is_pinned(
    hub: FakeHub, fetch_from_hub: FetchProcess, into: Path, cache: Path
) -> None:
    hub.cdn.faults = Faults(flip_bit_at=70_000)

    result = fetch_from_hub(SPEC)

    assert result["error"] == "DigestMismatchError"
    assert WEIGHTS in result["text"]
    assert not into.exists()
    assert not list((cache / "downloads").rglob(f"{WEIGHTS}.part"))


def test_changed_small_file_is_refused(hub: FakeHub, fetch_from_hub: FetchProcess) -> None:
    hub.tampered["tokenizer.json"] = b"[]"

    result = fetch_from_hub(PINNED)

    assert result["error"] == "DigestMismatchError"
    assert "tokenizer.json" in result["text"]


def test_cut_connection_is_continued(
    hub: FakeHub, fetch_from_hub: FetchProcess, into: Path
) -> None:
    hub.cdn.faults = Faults(cut_after=[60_000])

    fetch_from_hub(SPEC)

    assert (into / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert sum(hub.cdn.sent) == len(hub.files[WEIGHTS]) + 1


def test_killed_download_moves_only_the_rest(
    hub: FakeHub,
    fetch_command: Callable[[str], list[str]],
    fetch_from_hub: FetchProcess,
    into: Path,
    cache: Path,
) -> None:
    hub.files = {**hub.files, WEIGHTS: bytes(range(256)) * 20_000}
    half = len(hub.files[WEIGHTS]) // 2
    hub.cdn.faults = Faults(pause_after=half)

    process = start(fetch_command(SPEC), hub)
    wait_until(lambda: part_size(cache) >= half)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = part_size(cache)
    hub.cdn.faults = Faults()
    hub.cdn.resume.set()
    fetch_from_hub(SPEC)

    assert (into / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert hub.cdn.sent[-1] == len(hub.files[WEIGHTS]) - arrived + 1


def start(command: list[str], hub: FakeHub) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, env={**os.environ, "HF_ENDPOINT": hub.url})


def part_size(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.rglob(f"{WEIGHTS}.part"))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
