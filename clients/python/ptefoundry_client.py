"""Reads ptefoundry registries with plain GET: one file for Python 3.9 or newer, nothing else.

plan|prefetch|pull REGISTRY NAME:CHANNEL|NAME@VERSION --to FOLDER --backends xnnpack,.. --runtime
1.5.1|any [--adapter NAME] [--memory BYTES] [--foundation DIGEST] [--keys FILE,..]: docs/clients.md
"""

import base64
import hashlib
import json
import os
import re
import sys
import time
import zlib
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

Json = dict[str, Any]
TRIES, STALL_S, PIECE, LARGE = 4, 30, 1 << 18, 32 << 10
RECORD_LIMIT, SMALL_LIMIT, DOCUMENT_LIMIT, LARGEST = 64 << 10, 1 << 20, 8 << 20, 1 << 50
OCI, MODEL, OURS = (f"application/vnd.{who}" for who in ("oci.image", "cncf.model", "ptefoundry"))
INDEX = {"mediaType": f"{OCI}.index.v1+json", "artifactType": f"{OURS}.bundle.v1+json"}
VARIANT = {"mediaType": f"{OCI}.manifest.v1+json", "artifactType": f"{MODEL}.manifest.v1+json"}
TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"
LAYER_TYPE = re.compile(re.escape(MODEL) + r"\.weight(\.config)?\.v1\.raw")
NAME = re.compile(r"(?=.{1,64}$)[a-z0-9]+(?:[._-][a-z0-9]+)*")
SEMVER = re.compile(r"(?=.{1,64}$)[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?")
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?")
COUNT, TIME = re.compile("0|[1-9][0-9]{0,15}"), re.compile("[0-9]{4}(-[0-9]{2}){2}T[0-9:]{8}Z")
ID, RELEASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"), r"[0-9]{1,6}(?:\.[0-9]{1,6}){2}"
RUNTIME, PART = re.compile(f">={RELEASE},<{RELEASE}"), r"\w(?:[\w.+-]{0,126}[\w+-])?"
PATH = re.compile(rf"(?=.{{1,512}}$){PART}(?:/{PART})*", re.ASCII)
TAKEN = r"(?i)^(measured\.json|signatures)(/|$)|(^|/)(con|prn|aux|nul|(com|lpt)[0-9])([./]|$)"
SIZED = {"digest": re.compile("sha256:[0-9a-f]{64}"), "size": range(LARGEST + 1)}
MUST = {"backend": ID, "adapter": ID, "method": ID, "program": PATH, "size": COUNT, "memory": COUNT}
MAY = {"foundation": SIZED["digest"], "foundation.size": COUNT, "runtime": RUNTIME}
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5


class ClientError(Exception):
    """Why something was refused: a kind, which an app acts upon (docs/clients.md), and a text."""


class Client:
    """A registry as a device sees it; `folder` keeps what was fetched and what was seen."""

    def __init__(self, registry: str, folder: Path, keys: list[bytes]) -> None:
        _expect(re.match("https?://", registry), registry, "expected an address https://...")
        self.url, self.folder, self.keys = registry.rstrip("/") + "/", folder, keys
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def resolve(self, asked: str) -> tuple[Json, list[Json]]:
        """Find which version `name:channel` or `name@version` is, and its variants."""
        name, sign, rest = [*re.split("([:@])", asked, maxsplit=1), "", ""][:3]
        _check({"name": name, sign: rest}, {"name": NAME, sign: [SEMVER, NAME][sign == ":"]}, asked)
        found = self._channel(name, rest) if sign == ":" else self._ref(name, rest)
        version, where = found["version"], f"{name}@{found['version']}"
        note = self._get(f"yanks/{name}/{version}.json", SMALL_LIMIT)
        yanked = None if note is None else str(_parse(note, where).get("reason"))
        _expect(sign == "@" or yanked is None, where, f"it was yanked: {yanked!a}", "yanked")
        index = self._document(found, where)
        _check(index, {"schemaVersion": 2, **INDEX, "manifests": list}, where)
        _check(index.get("annotations"), {TITLE: name, VERSION: version}, where)
        variants = [self._variant(entry, entry, where) for entry in index["manifests"]]
        pairs = {(one["backend"], one["adapter"]) for one in variants}
        _expect(len(pairs) == len(variants) > 0, where, "expected each variant once, at least one")
        return {"name": name, "version": version, "yanked": yanked}, variants

    def _channel(self, name: str, channel: str) -> Json:
        key = f"channels/{name}/{channel}.json"
        data = self._get(key, RECORD_LIMIT)
        record = _parse(self._open(_parse(data, key), key), key)
        _check(record, {"format": 1, "name": name, "channel": channel, "version": SEMVER}, key)
        _check(record, {**SIZED, "number": range(1, 10**8)}, key)
        if self.keys or record.get("expires") is not None:
            _check(record, {"expires": TIME}, key, "untrusted")
            is_current = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) < record["expires"]
            _expect(is_current, key, f"it expired on {record['expires']}", "untrusted")
        seen = self.folder / "seen.json"
        known = _parse(seen.read_bytes(), str(seen)) if seen.exists() else {}
        digest = f"sha256:{hashlib.sha256(data or b'').hexdigest()}"
        asked, number = f"{self.url} {name}:{channel}", record["number"]
        last, last_digest = known.get(asked, (0, None))
        _expect(number >= last, key, f"number {number} is older than {last}, seen", "untrusted")
        follows = {last: digest, last + 1: record.get("previous") if last else None}
        fits = follows.get(number, last_digest) == last_digest
        _expect(fits, key, f"number {number} is of another history than {last}", "untrusted")
        seen.with_suffix(".new").write_text(json.dumps({**known, asked: (number, digest)}))
        seen.with_suffix(".new").replace(seen)
        return record

    def _ref(self, name: str, version: str) -> Json:
        _expect(not self.keys, f"{name}@{version}", "with keys, ask for a channel", "untrusted")
        key = f"refs/{name}/{version}.json"
        ref = _parse(self._get(key, SMALL_LIMIT), key)
        _check(ref, {"format": 1, "name": name, "version": version, **SIZED}, key)
        _check(ref, {"removed": None}, key, "missing")
        return ref

    def files(self, variant: Json) -> list[Json]:
        """List the files of a variant as they are of use: path, digest, size."""
        where = f"{variant['backend']}/{variant['adapter']}"
        manifest = self._document(variant["manifest"], where)
        _check(manifest, {"schemaVersion": 2, **VARIANT, "layers": list}, where)
        _check(self._variant(manifest, variant["manifest"], where), variant, where)
        files = []
        for layer in manifest["layers"]:
            _check(layer, {**SIZED, "mediaType": LAYER_TYPE, "annotations": dict}, where)
            path = layer["annotations"].get(TITLE)
            _check(layer["annotations"], {TITLE: PATH, "org.cncf.model.filepath": path}, where)
            _expect(not re.search(TAKEN, path), where, f"{path} is the name of something else")
            files.append({"path": path, "digest": layer["digest"], "size": layer["size"]})
        names = [file["path"].lower() for file in files]
        folders = {path[:at] for path in names for at, sign in enumerate(path) if sign == "/"}
        clash = len(set(names)) < len(names) or folders & set(names)
        _expect(not clash, where, "two paths mean one file, or one is a folder of another")
        _expect(names[-1:] == ["manifest.json"], where, "expected manifest.json last")
        first = {"foundation": files[0]["digest"], "foundation.size": str(files[0]["size"])}
        sizes = {"size": str(sum(file["size"] for file in files))}
        _check(variant, {**sizes, **(first if variant["foundation"] else {})}, where)
        return files

    def fetch(self, file: Json) -> Path:
        """Get a file: what is there of it is verified, what lacks is fetched."""
        key = f"blobs/sha256/{file['digest'][7:]}"
        blob = self.folder / key
        part = blob if blob.exists() else blob.with_suffix(".part")
        there = self._receive(key, file["size"], part, file["digest"])
        _expect(there, key, "there is no such object", "missing")
        return part.replace(blob)

    def _document(self, descriptor: Json, where: str) -> Json:
        _check(descriptor, {**SIZED, "size": range(DOCUMENT_LIMIT + 1)}, where)
        size, blob = descriptor["size"], self.folder / "blobs" / "sha256" / descriptor["digest"][7:]
        if size > LARGE and not blob.exists():
            with suppress(ClientError, zlib.error):  # `fetch` checks what the copy is
                copy = self._get(f"compressed/sha256/{blob.name}.gz", size) or b""
                blob.with_suffix(".part").write_bytes(zlib.decompressobj(31).decompress(copy, size))
        return _parse(self.fetch(descriptor).read_bytes(), where)

    def _get(self, key: str, limit: int) -> "bytes | None":
        path = self.folder / "pointer.part"
        return path.read_bytes() if self._receive(key, limit, path) else None

    def _receive(self, key: str, limit: int, path: Path, digest: str = "") -> bool:
        """Append what a file lacks of an object and check its digest; False if it is missing."""
        hasher, failed, extra = hashlib.sha256(), 0, {} if digest else {"Cache-Control": "no-cache"}
        with path.open("a+b" if digest else "w+b") as file:
            file.seek(0)
            while piece := file.read(PIECE):
                hasher.update(piece)
            had = file.tell()
            while (size := file.tell()) < limit:
                extra.update({"Range": f"bytes={size}-"} if size else {})
                try:
                    with urlopen(Request(self.url + key, headers=extra), timeout=STALL_S) as answer:
                        if answer.status != 206:  # all of it, whatever was asked for
                            size, hasher = file.truncate(file.seek(0)), hashlib.sha256()
                        end = size + int(answer.headers.get("Content-Length") or 0)
                        while piece := answer.read(min(PIECE, limit + 1 - file.tell())):
                            file.write(piece)
                            hasher.update(piece)
                            failed = 0
                    if file.tell() >= end:
                        break
                    raise ConnectionError(f"it ended after {file.tell()} of {end} bytes")
                except (OSError, HTTPException) as error:
                    if getattr(error, "code", 0) in {403, 404, 410}:
                        return False
                    _expect((failed := failed + 1) < TRIES, key, f"gave up: {error}", "network")
                    time.sleep(0.1 * 2**failed)
            found, size = f"sha256:{hasher.hexdigest()}", file.tell()
            ok = (size, found) == (limit, digest) if digest else size <= limit
            file.truncate(size if ok else file.seek(0))
            os.fsync(file.fileno())
        _expect(ok or had, key, f"expected at most {limit} bytes, found {size}, {found}", "damaged")
        return ok or self._receive(key, limit, path, digest)  # what was there was wrong

    def choose(self, variants: list[Json], adapter: str, backends: list[str], has: Json) -> Json:
        """The adapter's variant for the first backend on which the device can use it."""
        why = f"there is no {adapter} for {' or '.join(backends)}"
        found = {(one["backend"], one["adapter"]): one for one in variants}
        for one in filter(None, (found.get((backend, adapter)) for backend in backends)):
            bounds = [*(one["runtime"] or ",").split(","), has["runtime"]]
            low, high, mine = ([int(n) for n in re.findall("[0-9]+", text)] for text in bounds)
            if int(one["memory"]) <= has["memory"] and (bounds[2] == "any" or low <= mine < high):
                return one
            why = f"{one['backend']} needs {one['runtime']}, {one['memory']} bytes; there is {has}"
        raise ClientError("unsuitable", f"{adapter}: {why}")

    def _variant(self, source: Json, descriptor: Json, where: str) -> Json:
        _check(descriptor, {**SIZED, **VARIANT}, where)
        _check(source, {"annotations": dict}, where)
        facts = {key: source["annotations"].get(f"org.ptefoundry.{key}") for key in [*MUST, *MAY]}
        _check(facts, {**MUST, **{key: MAY[key] for key in MAY if facts[key] is not None}}, where)
        return {**facts, "manifest": {key: descriptor[key] for key in (*SIZED, *VARIANT)}}

    def _open(self, envelope: Json, where: str) -> bytes:
        kind, found = f"{OURS}.channel.v1+json", "none"
        _check(envelope, {"payloadType": kind, "payload": BASE64, "signatures": list}, where)
        payload, holds = base64.b64decode(envelope["payload"]), not self.keys
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        for item in envelope["signatures"][:16]:
            _check(item, {"sig": BASE64, "keyid": ID}, where)
            found, signature = item["keyid"][:16], base64.b64decode(item["sig"])
            holds = holds or any(_is_signature(signature, key, signed) for key in self.keys)
        _expect(holds, where, f"expected a signature by a given key, found {found}", "untrusted")
        return payload


def _is_signature(signature: bytes, pem: bytes, data: bytes) -> bool:
    """Verify ECDSA on P-256 with SHA-256 (FIPS 186-4, 6.4 and D.1.2.3); r and s stand in DER."""
    der = base64.b64decode(b"".join(pem.split(b"-----")[2:3]))
    is_p256 = len(der) == 91 and der[:27].hex().endswith("2a8648ce3d03010703420004")
    _expect(is_p256, "key", "expected a public key on P-256 in PEM")
    key = int.from_bytes(der[27:59], "big"), int.from_bytes(der[59:], "big")
    end = 4 + signature[3] if len(signature) > 8 else 0
    r, s = (int.from_bytes(part, "big") for part in (signature[4:end], signature[end + 2 :]))
    if not (0 < r < N and 0 < s < N):
        return False
    number, inverse, point = int(hashlib.sha256(data).hexdigest(), 16), pow(s, -1, N), None
    for bit in reversed(range(256)):
        point = _add(point, point)
        for factor, other in ((number * inverse % N, (GX, GY)), (r * inverse % N, key)):
            point = _add(point, other) if factor >> bit & 1 else point
    return point is not None and point[0] % N == r


def _add(a: Any, b: Any) -> Any:
    if a is None or b is None or (a[0] == b[0] and a[1] != b[1]):
        return None if a and b else a or b
    up, down = (3 * a[0] ** 2 - 3, 2 * a[1]) if a == b else (b[1] - a[1], b[0] - a[0])
    slope = up * pow(down, -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def _parse(data: "bytes | None", where: str) -> Json:
    def unique(pairs: list[tuple[str, Any]]) -> Json:
        _expect(len(dict(pairs)) == len(pairs), where, "a key stands twice in one object")
        return dict(pairs)

    _expect(data is not None, where, "there is no such object", "missing")
    value = None
    with suppress(ValueError, RecursionError):
        value = json.loads((data or b"").decode(), object_pairs_hook=unique)
    _expect(isinstance(value, dict), where, "expected a JSON object")
    return dict(value or {})


def _check(fields: Any, spec: Json, where: str, kind: str = "malformed") -> None:
    """Refuse fields that are not of the pattern, the range, the type or the value of `spec`."""
    for key, wanted in spec.items():
        found = fields.get(key) if isinstance(fields, dict) else None
        if isinstance(wanted, re.Pattern):
            holds: object = isinstance(found, str) and wanted.fullmatch(found)
        elif isinstance(wanted, range):
            holds = type(found) is int and found in wanted
        else:
            holds = isinstance(found, wanted) if isinstance(wanted, type) else found == wanted
        shown = getattr(wanted, "pattern", wanted)
        _expect(holds, where, f"{key}: expected {shown}, found {found!a:.80}", kind)


def _expect(holds: object, where: str, text: str, kind: str = "malformed") -> None:
    if not holds:
        raise ClientError(kind, f"{where}: {text}")


def main(command: str = "", registry: str = "", reference: str = "", *options: str) -> None:
    """Do what the command line says; print JSON."""
    counts = {"plan": 0, "prefetch": 1, "pull": None}
    _expect(command in counts, "usage", str(__doc__), "usage")
    given = {"--adapter": "base", "--keys": "", **dict(zip(options[::2], options[1::2]))}
    keys = [Path(path).read_bytes() for path in given["--keys"].split(",") if path]
    client = Client(registry, Path(given["--to"]), keys)
    version, variants = client.resolve(reference)
    has = {"runtime": given["--runtime"], "memory": int(given.get("--memory", LARGEST))}
    variant = client.choose(variants, given["--adapter"], given["--backends"].split(","), has)
    foundation = given.get("--foundation") or variant["foundation"]
    _check(variant, {"foundation": foundation}, reference, "unsuitable")
    files = client.files(variant)
    known = {f"sha256:{path.name}" for path in (client.folder / "blobs" / "sha256").iterdir()}
    lacking = sum(file["size"] for file in files if file["digest"] not in known)
    places = {file["path"]: str(client.fetch(file)) for file in files[: counts[command]]}
    print(json.dumps({**version, **variant, "download": lacking, "files": places}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ClientError as problem:
        raise SystemExit("error ({}): {}".format(*problem.args)) from None
