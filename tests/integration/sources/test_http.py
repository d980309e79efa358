import hashlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from http_server import Faults, LoopbackServer, Reply

from ptefoundry.base.sources import FetchedSource
from ptefoundry.errors import ConfigError, DigestMismatchError, SourceError

Fetch = Callable[..., FetchedSource]

NAME = "model.gguf"
CONTENT = bytes(range(256)) * 1200
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = bytes(reversed(CONTENT))


@pytest.fixture
def url(web: LoopbackServer, files: dict[str, Reply]) -> str:
    files[f"/{NAME}"] = Reply(CONTENT, etag='"v1"')
    return f"{web.url}/{NAME}"


def partial_files(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "downloads").rglob("*.part"))


def test_single_file_arrives_with_its_own_sha256(url: str, fetch_here: Fetch, into: Path) -> None:
    fetched = fetch_here(url)

    assert (into / NAME).read_bytes() == CONTENT
    assert fetched.digest == DIGEST
    assert fetched.resolved is None
    assert fetched.files == {NAME: len(CONTENT)}


def test_nothing_but_the_result_stays_beside_it(
    url: str, fetch_here: Fetch, into: Path, cache: Path
) -> None:
    fetch_here(url)

    assert [path.name for path in into.parent.iterdir()] == [into.name]
    assert partial_files(cache) == []


def test_cut_connection_is_continued_not_repeated(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[100_000, 100_000])

    fetch_here(url, digest=DIGEST)

    assert (into / NAME).read_bytes() == CONTENT
    # Every continuation asks for the last byte again.
    assert sum(web.sent) == len(CONTENT) + 2
    assert web.requests[1].headers["range"] == "bytes=99999-"
    assert web.requests[1].headers["if-range"] == '"v1"'


def test_next_fetch_continues_what_a_failed_one_left(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path, cache: Path
) -> None:
    web.faults = Faults(cut_after=[200_000, 0, 0, 0])
    with pytest.raises(SourceError, match="run again"):
        fetch_here(url)
    assert not into.exists()
    assert [path.stat().st_size for path in partial_files(cache)] == [200_000]

    fetch_here(url)

    assert (into / NAME).read_bytes() == CONTENT
    assert web.sent[-1] == len(CONTENT) - 200_000 + 1


def test_changed_file_is_downloaded_from_its_start(
    url: str, web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[200_000, 0, 0, 0])
    with pytest.raises(SourceError):
        fetch_here(url)
    files[f"/{NAME}"] = Reply(OTHER, etag='"v2"')

    fetch_here(url)

    assert (into / NAME).read_bytes() == OTHER


def test_changed_file_is_noticed_where_if_range_is_ignored(
    url: str, web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[200_000, 0, 0, 0])
    with pytest.raises(SourceError):
        fetch_here(url)
    files[f"/{NAME}"] = Reply(OTHER, etag='"v2"')
    web.faults = Faults(ignore_if_range=True)

    fetch_here(url)

    assert (into / NAME).read_bytes() == OTHER


def test_shrunken_file_is_downloaded_from_its_start(
    url: str, web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[200_000, 0, 0, 0])
    with pytest.raises(SourceError):
        fetch_here(url)
    files[f"/{NAME}"] = Reply(b"short", etag='"v2"')
    web.faults = Faults(ignore_if_range=True)

    fetch_here(url)

    assert (into / NAME).read_bytes() == b"short"


def test_server_without_ranges_sends_the_file_again(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[150_000], ignore_ranges=True)

    fetch_here(url)

    assert (into / NAME).read_bytes() == CONTENT
    assert web.sent == [150_000, len(CONTENT)]


def test_server_that_always_breaks_at_one_place_is_given_up(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[150_000] * 20, ignore_ranges=True)

    with pytest.raises(SourceError, match="connection failed"):
        fetch_here(url)

    assert len(web.requests) == 4
    assert not into.exists()


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_continued(
    etag: str, web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    files[f"/{NAME}"] = Reply(CONTENT, etag=etag)
    web.faults = Faults(cut_after=[150_000])

    fetch_here(f"{web.url}/{NAME}")

    assert (into / NAME).read_bytes() == CONTENT
    assert "range" not in web.requests[1].headers


def test_flipped_bit_is_refused_and_forgotten(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path, cache: Path
) -> None:
    web.faults = Faults(flip_bit_at=70_000)
    with pytest.raises(DigestMismatchError, match=DIGEST) as caught:
        fetch_here(url, digest=DIGEST)
    assert url in str(caught.value)
    assert not into.exists()
    assert partial_files(cache) == []

    web.faults = Faults()
    fetch_here(url, digest=DIGEST)
    assert (into / NAME).read_bytes() == CONTENT


def test_bit_flipped_before_a_cut_is_refused_after_the_continuation(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(cut_after=[100_000, 0, 0, 0], flip_bit_at=10)
    with pytest.raises(SourceError):
        fetch_here(url, digest=DIGEST)
    web.faults = Faults()

    with pytest.raises(DigestMismatchError):
        fetch_here(url, digest=DIGEST)
    assert not into.exists()


def test_failed_fetch_removes_the_older_result(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path
) -> None:
    fetch_here(url)
    web.faults = Faults(statuses=[404])

    with pytest.raises(SourceError):
        fetch_here(url)

    assert not into.exists()


def test_pinned_content_comes_from_the_cache_without_network(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path, tmp_path: Path
) -> None:
    fetch_here(url)
    requests = len(web.requests)

    fetched = fetch_here(url, digest=DIGEST, into=tmp_path / "again")

    assert (tmp_path / "again" / NAME).read_bytes() == CONTENT
    assert fetched.digest == DIGEST
    assert len(web.requests) == requests


def test_damaged_cache_is_not_used(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path, cache: Path, tmp_path: Path
) -> None:
    fetch_here(url)
    stored = cache / "content" / DIGEST / NAME
    stored.unlink()
    stored.write_bytes(OTHER)

    fetch_here(url, digest=DIGEST, into=tmp_path / "again")

    assert (tmp_path / "again" / NAME).read_bytes() == CONTENT
    assert len(web.requests) == 2


def test_busy_server_is_asked_again(url: str, web: LoopbackServer, fetch_here: Fetch) -> None:
    web.faults = Faults(statuses=[503, 429])

    fetch_here(url)

    assert len(web.requests) == 3


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "login"), (403, "access is denied"), (404, "no such file"), (410, "removed")],
)
def test_refusal_is_final_and_says_what_to_do(
    status: int, advice: str, url: str, web: LoopbackServer, fetch_here: Fetch
) -> None:
    web.faults = Faults(statuses=[status])

    with pytest.raises(SourceError, match=f"answered {status}; .*{advice}"):
        fetch_here(url)

    assert len(web.requests) == 1


def test_body_of_unknown_length_is_refused(
    url: str, web: LoopbackServer, fetch_here: Fetch, into: Path
) -> None:
    web.faults = Faults(omit_length=True)

    with pytest.raises(SourceError, match="how long"):
        fetch_here(url)

    assert not into.exists()


def test_redirect_is_followed(
    url: str, web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    files["/latest/model.gguf"] = Reply(status=302, headers={"Location": url})

    fetch_here(f"{web.url}/latest/model.gguf")

    assert (into / NAME).read_bytes() == CONTENT


def test_endless_redirects_end(
    web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch
) -> None:
    files["/loop.gguf"] = Reply(status=302, headers={"Location": f"{web.url}/loop.gguf"})

    with pytest.raises(SourceError, match="redirect"):
        fetch_here(f"{web.url}/loop.gguf")


def test_encoded_body_is_refused(
    web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch
) -> None:
    files["/a.gguf"] = Reply(b"packed", headers={"Content-Encoding": "gzip"})

    with pytest.raises(SourceError, match="encoded"):
        fetch_here(f"{web.url}/a.gguf")


def test_empty_file_arrives(
    web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    files["/a.gguf"] = Reply(b"", etag='"e"')

    fetch_here(f"{web.url}/a.gguf")

    assert (into / "a.gguf").read_bytes() == b""


def test_name_in_the_url_is_decoded(
    web: LoopbackServer, files: dict[str, Reply], fetch_here: Fetch, into: Path
) -> None:
    files["/a%20b.gguf?sig=1"] = Reply(CONTENT)

    fetch_here(f"{web.url}/a%20b.gguf?sig=1")

    assert (into / "a b.gguf").read_bytes() == CONTENT


def test_open_http_needs_a_digest(fetch_here: Fetch, into: Path) -> None:
    with pytest.raises(ConfigError, match=r"params.yaml: base.source: expected https"):
        fetch_here("http://models.example/model.gguf")


def test_proxy_of_the_environment_is_used(
    url: str, web: LoopbackServer, fetch_here: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", web.url)

    with pytest.raises(SourceError, match="answered 404"):
        fetch_here("http://models.example/model.gguf", digest=DIGEST)

    assert web.paths() == ["http://models.example/model.gguf"]


def test_unreachable_server_is_reported(fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match="check the network"):
        fetch_here("http://127.0.0.1:9/model.gguf")


def test_killed_download_moves_only_the_rest(
    web: LoopbackServer,
    files: dict[str, Reply],
    fetch_command: Callable[[str], list[str]],
    into: Path,
    cache: Path,
) -> None:
    content = CONTENT * 30
    files["/big.gguf"] = Reply(content, etag='"v1"')
    half = len(content) // 2
    web.faults = Faults(pause_after=half)
    command = fetch_command(f"{web.url}/big.gguf")

    process = subprocess.Popen(command)
    wait_until(lambda: any(path.stat().st_size >= half for path in partial_files(cache)))
    process.send_signal(signal.SIGKILL)
    process.wait()
    (partial,) = partial_files(cache)
    arrived = partial.stat().st_size
    web.faults = Faults()
    web.resume.set()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    assert (into / "big.gguf").read_bytes() == content
    assert web.requests[-1].headers["range"] == f"bytes={arrived - 1}-"
    assert web.sent[-1] == len(content) - arrived + 1
    assert not list(into.parent.glob(".*"))


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
