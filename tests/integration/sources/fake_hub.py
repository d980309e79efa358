"""The part of the Hugging Face Hub's HTTP API that fetching a model uses.

Large files (`.safetensors`, `.gguf`, `.pth`, `.bin`) are answered as the Hub
does: a redirect to another host that must not get the login.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from http_server import LoopbackServer, Reply, Request, serve

_LARGE = {".bin", ".gguf", ".pth", ".safetensors"}
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<kind>revision|tree)/(?P<revision>[^/]+)")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<commit>[^/]+)/(?P<path>.+)")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_accepted"


@dataclass
class FakeHub:
    """One repository, reachable at `url` (HF_ENDPOINT)."""

    repo: str
    files: Mapping[str, bytes]
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: bool = False
    tampered: dict[str, bytes] = field(default_factory=dict)
    """Content that is sent instead of what the listing describes, by path."""
    server: LoopbackServer = field(init=False)
    cdn: LoopbackServer = field(init=False)

    @property
    def url(self) -> str:
        return self.server.url

    def downloads(self) -> list[str]:
        """Paths of the repository that have been asked for."""
        matches = (_RESOLVE.fullmatch(path) for path in self.server.paths())
        return [match["path"] for match in matches if match]

    def respond(self, request: Request) -> Reply:
        path = urlsplit(request.path).path
        if found := _API.fullmatch(path):
            return self._api(found["repo"], found["kind"], unquote(found["revision"]))
        if found := _RESOLVE.fullmatch(path):
            refusal = self._refusal(request) or self._unknown(found["repo"], found["commit"])
            return refusal or self._resolve(unquote(found["path"]))
        return _error(404, "EntryNotFound")

    def respond_cdn(self, request: Request) -> Reply:
        if "authorization" in request.headers:
            return Reply(status=400)
        for content in self.files.values():
            if request.path == f"/{_sha256(content)}":
                return Reply(content, etag=f'"{hashlib.md5(content).hexdigest()}"')
        return Reply(status=404)

    def _api(self, repo: str, kind: str, revision: str) -> Reply:
        if refusal := self._unknown(repo, revision):
            return refusal
        if kind == "revision":
            return _json({"id": repo, "sha": self.branches.get(revision, revision)})
        return _json([_entry(path, content) for path, content in self.files.items()])

    def _unknown(self, repo: str, revision: str) -> Reply | None:
        if repo != self.repo:
            return _error(401, "RepoNotFound")
        known = {*self.branches, *self.branches.values()}
        return None if revision in known else _error(404, "RevisionNotFound")

    def _refusal(self, request: Request) -> Reply | None:
        """Listing a gated model is open to all, its files are not."""
        login = request.headers.get("authorization")
        if not self.gated or login == f"Bearer {TOKEN}":
            return None
        return _error(403 if login else 401, "GatedRepo")

    def _resolve(self, path: str) -> Reply:
        content = self.files.get(path)
        if content is None:
            return _error(404, "EntryNotFound")
        if PurePosixPath(path).suffix in _LARGE:
            return Reply(status=302, headers={"Location": f"{self.cdn.url}/{_sha256(content)}"})
        return Reply(self.tampered.get(path, content), etag=f'"{_git_id(content)}"')


@contextmanager
def serve_hub(repo: str, files: Mapping[str, bytes]) -> Iterator[FakeHub]:
    """Run a hub with one repository on two free ports while the block runs."""
    hub = FakeHub(repo, files)
    with serve(hub.respond) as hub.server, serve(hub.respond_cdn) as hub.cdn:
        yield hub


def _entry(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
    if PurePosixPath(path).suffix not in _LARGE:
        return entry | {"oid": _git_id(content)}
    lfs = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
    return entry | {"oid": "f" * 40, "lfs": lfs, "xetHash": "e" * 64}


def _json(value: object) -> Reply:
    return Reply(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _error(status: int, code: str) -> Reply:
    return Reply(status=status, headers={"X-Error-Code": code, "X-Error-Message": code})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
