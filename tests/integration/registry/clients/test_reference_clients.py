"""Both reference clients against a static file server: pulls, refusals, faults."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.digest import hash_bytes, hash_file
from ptefoundry.registry.channel_rules import NEVER
from ptefoundry.registry.names import channel_key, ref_key
from ptefoundry.registry.trust.keys import Signer, generate_signer
from support.forged_registry import ForgedRegistry, make_folder
from support.golden_registry import GOLDEN, PUBLIC_KEY
from support.packed import BUNDLE, NAME
from support.reference_clients import ReferenceClient
from support.static_server import StaticServer, serve_folder

FOUNDATION, PROGRAM = "xnnpack/foundation.ptd", "xnnpack/red.pte"
STABLE, VERSION = f"{NAME}:stable", f"{NAME}@1.0.0"
WHOLE = 1 << 30
"""More than any body: not cut."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def signer() -> Signer:
    return generate_signer()


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> ForgedRegistry:
    return ForgedRegistry(Path(shutil.copytree(made, tmp_path / "registry")))


@pytest.fixture
def server(registry: ForgedRegistry) -> Iterator[StaticServer]:
    with serve_folder(registry.folder) as server:
        yield server


@pytest.fixture
def client(command: ReferenceClient, server: StaticServer, tmp_path: Path) -> ReferenceClient:
    return command.on(server.url, tmp_path / "device")


@pytest.fixture
def key(signer: Signer, tmp_path: Path) -> Path:
    path = tmp_path / "publisher.pub"
    path.write_bytes(signer.public.pem)
    return path


def digests(pulled: dict[str, Any]) -> dict[str, str]:
    return {path: hash_file(Path(file)) for path, file in pulled["files"].items()}


def bundle_digests() -> dict[str, str]:
    """Of the files that `red` of 1.0.0 has, but for manifest.json."""
    paths = [FOUNDATION, PROGRAM, "tokenizer/chat.json", "tokenizer/tokenizer.json", "model.json"]
    return {path: hash_file(BUNDLE / path) for path in paths}


def ranges(server: StaticServer) -> list[str]:
    return [headers["range"] for _, _, headers in server.requests if "range" in headers]


def parts(client: ReferenceClient) -> list[Path]:
    return [path for path in client.folder.rglob("*.part") if path.stat().st_size]


# Pulls


def test_a_channel_is_pulled(client: ReferenceClient, registry: ForgedRegistry) -> None:
    registry.move("1.0.0")
    pulled = client.pull(STABLE)
    assert (pulled["version"], pulled["program"], pulled["method"]) == ("1.0.0", PROGRAM, "forward")
    found = digests(pulled)
    listing = json.loads(Path(pulled["files"]["manifest.json"]).read_bytes())
    assert [one["adapter"] for one in listing["variants"]] == ["red"]
    assert found.pop("manifest.json")
    assert found == bundle_digests()
    assert next(iter(pulled["files"])) == FOUNDATION


def test_a_version_is_pulled(client: ReferenceClient, registry: ForgedRegistry) -> None:
    pulled = client.pull(f"{NAME}@1.1.0")
    assert digests(pulled)[PROGRAM] == hash_file(registry.blob("1.1.0", "red", PROGRAM))
    assert digests(pulled)[PROGRAM] != bundle_digests()[PROGRAM]


def test_the_golden_registry_is_read(command: ReferenceClient, tmp_path: Path) -> None:
    with serve_folder(GOLDEN) as server:
        client = command.on(server.url, tmp_path / "device")
        pulled = client.pull(STABLE, keys=PUBLIC_KEY)
        assert pulled["version"] == "1.0.0"
        assert bundle_digests().items() <= digests(pulled).items()
        assert "expired on 2025-10-11" in client.refusal(f"{NAME}:beta")
        assert client.pull(f"{NAME}@1.1.0")["yanked"] == "red answers wrongly"


def test_the_next_version_moves_only_what_changed(
    client: ReferenceClient, registry: ForgedRegistry, server: StaticServer
) -> None:
    registry.move("1.0.0")
    client.pull(STABLE)
    registry.move("1.1.0")
    server.sent = 0
    pulled = client.pull(STABLE)
    program = registry.blob("1.1.0", "red", PROGRAM).stat().st_size
    assert pulled["version"] == "1.1.0"
    assert program < server.sent < program + (64 << 10)


def test_the_same_version_again_moves_the_pointer_alone(
    client: ReferenceClient, registry: ForgedRegistry, server: StaticServer
) -> None:
    registry.move("1.0.0")
    first = client.pull(STABLE)
    server.sent = 0
    assert client.pull(STABLE) == first | {"download": 0}
    assert server.sent == registry.pointer().stat().st_size


def test_a_plan_moves_no_files(client: ReferenceClient, server: StaticServer) -> None:
    plan = client.answer("plan", VERSION)
    assert plan["files"] == {}
    assert plan["download"] == int(plan["size"]) > 402944
    assert server.sent < 10_000


def test_the_foundation_comes_first(client: ReferenceClient, registry: ForgedRegistry) -> None:
    fetched = client.answer("prefetch", VERSION)
    assert digests(fetched) == {FOUNDATION: bundle_digests()[FOUNDATION]}
    foundation = int(fetched["foundation.size"])
    assert client.pull(VERSION)["download"] == int(fetched["size"]) - foundation
    assert client.answer("plan", VERSION)["download"] == 0
    # Another adapter needs no foundation any more.
    other = client.answer("plan", VERSION, adapter="blue")
    assert other["download"] < 70_000


# The network


def test_a_cut_connection_is_continued(client: ReferenceClient, server: StaticServer) -> None:
    server.faults.cut_after = [WHOLE] * 3 + [200_000]
    pulled = client.pull(VERSION)
    assert bundle_digests().items() <= digests(pulled).items()
    assert ranges(server) == ["bytes=200000-"]
    documents = server.sent - int(pulled["size"])
    assert documents < 10_000


def test_a_broken_pull_is_continued_by_the_next(
    client: ReferenceClient, server: StaticServer
) -> None:
    server.faults.cut_after = [WHOLE] * 3 + [200_000, 0, 0, 0]
    assert re.match(r"error \(network\): blobs/sha256/.*gave up", client.refusal(VERSION))
    server.sent = 0
    pulled = client.pull(VERSION)
    assert bundle_digests().items() <= digests(pulled).items()
    assert server.sent < int(pulled["size"]) - 200_000 + 10_000


def test_a_server_without_ranges_is_coped_with(
    client: ReferenceClient, server: StaticServer
) -> None:
    server.faults.ignore_ranges = True
    server.faults.cut_after = [WHOLE] * 3 + [200_000]
    assert bundle_digests().items() <= digests(client.pull(VERSION)).items()


def test_errors_of_the_server_are_tried_again(
    client: ReferenceClient, server: StaticServer
) -> None:
    server.faults.statuses = [503, 500]
    assert client.pull(VERSION)["version"] == "1.0.0"
    server.faults.statuses = [503] * 4
    assert client.refusal(VERSION).startswith("error (network)")


def test_pointers_are_asked_for_anew(client: ReferenceClient, server: StaticServer) -> None:
    client.pull(VERSION)
    asked = {path: headers.get("cache-control") for _, path, headers in server.requests}
    assert asked[f"/{ref_key(NAME, '1.0.0')}"] == "no-cache"
    assert {asked[path] for path in asked if path.startswith("/blobs/")} == {None}


@pytest.mark.parametrize("change", ["flip", "shorten", "lengthen"])
def test_a_wrong_blob_is_found_and_named(
    client: ReferenceClient, registry: ForgedRegistry, change: str
) -> None:
    blob = registry.blob("1.0.0", "red", FOUNDATION)
    data = bytearray(blob.read_bytes())
    data[123_456] ^= 1
    changed = {"flip": data, "shorten": data[:-1], "lengthen": data + b"."}[change]
    blob.write_bytes(changed)
    refusal = client.refusal(VERSION)
    assert refusal.startswith(f"error (damaged): blobs/sha256/{blob.name}: expected at most 402944")
    assert not (client.folder / "blobs" / "sha256" / blob.name).exists()
    assert parts(client) == [], "nothing wrong is kept"


def test_a_wrong_start_of_a_broken_pull_is_fetched_anew(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    blob = registry.blob("1.0.0", "red", FOUNDATION)
    (client.folder / "blobs" / "sha256").mkdir(parents=True)
    (client.folder / "blobs" / "sha256" / f"{blob.name}.part").write_bytes(b"something else")
    assert bundle_digests().items() <= digests(client.pull(VERSION)).items()


def test_a_file_that_went_bad_on_the_device_is_fetched_anew(client: ReferenceClient) -> None:
    file = Path(client.pull(VERSION)["files"][FOUNDATION])
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert bundle_digests().items() <= digests(client.pull(VERSION)).items()


def test_what_is_not_there_is_named(client: ReferenceClient, registry: ForgedRegistry) -> None:
    assert re.match(r"error \(missing\): channels/tiny/stable\.json", client.refusal(STABLE))
    assert re.match(r"error \(missing\): refs/tiny/9\.0\.0\.json", client.refusal(f"{NAME}@9.0.0"))
    registry.blob("1.0.0", "red", PROGRAM).unlink()
    assert re.match(r"error \(missing\): blobs/sha256/", client.refusal(VERSION))


def test_a_removed_version_is_refused(client: ReferenceClient, registry: ForgedRegistry) -> None:
    key = ref_key(NAME, "1.0.0")
    registry.write(key, registry.read(key) | {"removed": "2026-01-01T00:00:00Z"})
    assert re.match(r"error \(missing\): refs/.*removed", client.refusal(VERSION))


def test_a_yanked_version_is_for_who_asks_for_it(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    registry.move("1.0.0")
    registry.yank("1.0.0")
    assert re.match(r"error \(yanked\): tiny@1\.0\.0.*is wrong", client.refusal(STABLE))
    assert client.pull(VERSION)["yanked"] == "is wrong"


def test_a_store_that_hides_what_is_missing(
    client: ReferenceClient, server: StaticServer, registry: ForgedRegistry
) -> None:
    """S3 answers 403 for what is not there to who may not list."""
    server.faults.statuses = [403]
    assert client.refusal(VERSION).startswith("error (missing): refs/")


# Trust


def test_a_signed_channel_is_pulled(
    client: ReferenceClient, registry: ForgedRegistry, signer: Signer, key: Path
) -> None:
    registry.move("1.0.0", [signer])
    registry.move("1.1.0", [generate_signer(), signer])
    assert client.pull(STABLE, keys=key)["version"] == "1.1.0"


def test_one_of_two_keys_is_enough(
    client: ReferenceClient, registry: ForgedRegistry, signer: Signer, key: Path, tmp_path: Path
) -> None:
    registry.move("1.0.0", [signer])
    (tmp_path / "old.pub").write_bytes(generate_signer().public.pem)
    assert client.pull(STABLE, keys=f"{tmp_path / 'old.pub'},{key}")["version"] == "1.0.0"


def test_an_unsigned_channel_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, key: Path
) -> None:
    registry.move("1.0.0")
    refusal = client.refusal(STABLE, keys=key)
    assert re.match(
        r"error \(untrusted\): channels/.*signature by a given key, found none", refusal
    )


def test_a_channel_signed_by_another_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, key: Path
) -> None:
    other = generate_signer()
    registry.move("1.0.0", [other])
    refusal = client.refusal(STABLE, keys=key)
    assert re.match(rf"error \(untrusted\): .*found {other.public.id[:16]}", refusal)


def test_an_altered_record_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, signer: Signer, key: Path
) -> None:
    registry.move("1.0.0", [signer])
    old = registry.read(channel_key(NAME, "stable"))
    registry.move("1.1.0", [signer])
    new = registry.read(channel_key(NAME, "stable"))
    registry.write(channel_key(NAME, "stable"), new | {"signatures": old["signatures"]})
    assert client.refusal(STABLE, keys=key).startswith("error (untrusted)")


@pytest.mark.parametrize("sig", ["", "AAAA", "MAYCAQACAQA=", "MAYCAQECAQE=", "A" * 96])
def test_a_signature_that_is_none_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, signer: Signer, key: Path, sig: str
) -> None:
    registry.move("1.0.0", [signer])
    pointer = registry.read(channel_key(NAME, "stable"))
    pointer["signatures"][0]["sig"] = sig
    registry.write(channel_key(NAME, "stable"), pointer)
    assert client.refusal(STABLE, keys=key).startswith("error (untrusted)")


def test_a_version_is_refused_with_keys(client: ReferenceClient, key: Path) -> None:
    """Refs are not signed, and the clients do not check versions' signatures."""
    assert "ask for a channel" in client.refusal(VERSION, keys=key)


def test_a_frozen_channel_is_refused(client: ReferenceClient, registry: ForgedRegistry) -> None:
    registry.move("1.0.0", valid_s=-1)
    assert re.match(r"error \(untrusted\): .*expired on", client.refusal(STABLE))


def test_a_channel_that_never_expires_is_refused_with_keys(
    client: ReferenceClient, registry: ForgedRegistry, signer: Signer, key: Path
) -> None:
    registry.move("1.0.0", [signer], valid_s=NEVER)
    assert re.match(r"error \(untrusted\): .*expires", client.refusal(STABLE, keys=key))
    assert client.pull(STABLE)["version"] == "1.0.0"


def test_a_channel_that_went_back_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, server: StaticServer
) -> None:
    registry.move("1.0.0")
    old = registry.pointer().read_bytes()
    registry.move("1.1.0")
    client.pull(STABLE)
    registry.pointer().write_bytes(old)
    server.sent = 0
    refusal = client.refusal(STABLE)
    assert re.match(r"error \(untrusted\): .*number 1 is older than 2", refusal)
    assert server.sent == len(old)


def test_another_history_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, made: Path, tmp_path: Path
) -> None:
    registry.move("1.0.0")
    client.pull(STABLE)
    other = ForgedRegistry(Path(shutil.copytree(made, tmp_path / "other")))
    for _ in range(2):
        other.move("1.1.0")
        registry.pointer().write_bytes(other.pointer().read_bytes())
        assert "is of another history than 1" in client.refusal(STABLE)


def test_a_rollback_is_a_newer_record(client: ReferenceClient, registry: ForgedRegistry) -> None:
    for version in ("1.0.0", "1.1.0", "1.0.0"):
        registry.move(version)
        assert client.pull(STABLE)["version"] == version


def test_a_record_of_another_channel_is_refused(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    registry.move("1.0.0")
    shutil.copy(registry.pointer(), registry.pointer().with_name("beta.json"))
    assert re.match(r"error \(malformed\): .*channel: ", client.refusal(f"{NAME}:beta"))


# Choosing


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"runtime": "1.4.9"}, "needs >=1.5.1,<1.7.0"),
        ({"runtime": "1.7.0"}, "needs >=1.5.1,<1.7.0"),
        ({"memory": 1000}, "needs >=1.5.1,<1.7.0, 548544 bytes"),
        ({"backends": "vulkan,qnn"}, "red: there is no red for vulkan or qnn"),
        ({"adapter": "green"}, "green: there is no green for xnnpack"),
        ({"foundation": "sha256:" + "0" * 64}, "foundation: expected sha256:0000"),
    ],
)
def test_what_does_not_fit_is_refused(
    client: ReferenceClient, server: StaticServer, options: dict[str, Any], text: str
) -> None:
    refusal = client.refusal(VERSION, **options)
    assert refusal.startswith("error (unsuitable)")
    assert text in refusal
    assert server.sent < 5000


def test_the_first_backend_that_fits_is_chosen(client: ReferenceClient) -> None:
    found = client.answer(
        "plan", VERSION, backends="coreml,xnnpack", runtime="1.6.3", memory=548544
    )
    assert (found["backend"], found["memory"]) == ("xnnpack", "548544")


def test_the_foundation_of_the_device_fits(client: ReferenceClient) -> None:
    digest = f"sha256:{bundle_digests()[FOUNDATION]}"
    assert client.pull(VERSION, foundation=digest)["foundation"] == digest


def test_no_statement_about_runtimes_is_refused(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    def forget(fields: dict[str, Any]) -> None:
        for one in fields.get("manifests", [fields]):
            one["annotations"].pop("org.ptefoundry.runtime")

    registry.forge("1.0.0", manifest=forget, index=forget)
    assert client.refusal(VERSION).startswith("error (unsuitable)")
    assert client.pull(VERSION, runtime="any")["runtime"] is None


# Hostile documents


def path_edit(path: str) -> Callable[[dict[str, Any]], None]:
    def edit(manifest: dict[str, Any]) -> None:
        annotations = manifest["layers"][2]["annotations"]
        annotations.update(dict.fromkeys(annotations, path))

    return edit


@pytest.mark.parametrize(
    "path",
    [
        "../red.pte",
        "/etc/red.pte",
        "tokenizer/../../red.pte",
        "tokenizer\\red.pte",
        "C:red.pte",
        "",
        "a//b",
        ".hidden",
        "ends.",
        "x" * 129,
        "nul.txt",
        "tokenizer/COM1",
        "a\nb",
        "w\u0131de",
        "XNNPACK/Red.pte",
        "xnnpack",
        "xnnpack/red.pte/x",
        "signatures/x",
        "measured.json",
        "Manifest.json/x",
    ],
)
def test_paths_that_mean_something_else_are_refused(
    client: ReferenceClient, registry: ForgedRegistry, server: StaticServer, path: str
) -> None:
    registry.forge("1.0.0", manifest=path_edit(path))
    assert client.refusal(VERSION).startswith("error (malformed): xnnpack/red")
    assert server.sent < 10_000


@pytest.mark.parametrize(
    "reference", ["../x:stable", "tiny:../x", "tiny@../../x", "tiny", "", "a:b:c"]
)
def test_names_that_mean_something_else_are_refused(
    client: ReferenceClient, server: StaticServer, reference: str
) -> None:
    assert client.refusal(reference).startswith("error (malformed)")
    assert server.requests == []


def test_a_path_as_a_version_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, server: StaticServer
) -> None:
    key = ref_key(NAME, "1.0.0")
    registry.write(key, registry.read(key) | {"version": "../../../x"})
    assert client.refusal(VERSION).startswith("error (malformed): refs/tiny/1.0.0.json: version")


def set_fact(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    def edit(fields: dict[str, Any]) -> None:
        for one in fields.get("manifests", [fields]):
            one["annotations"][f"org.ptefoundry.{name}"] = value

    return edit


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("size", "5", "size: expected 486"),
        ("foundation", "sha256:" + "1" * 64, "foundation: expected sha256:099b"),
        ("foundation.size", "7", "foundation.size: expected 402944"),
        ("memory", "-1", "memory"),
        ("runtime", "1.5.1", "runtime"),
        ("method", "a b", "method"),
        ("program", "../x", "program"),
    ],
)
def test_facts_that_are_wrong_are_refused(
    client: ReferenceClient, registry: ForgedRegistry, name: str, value: str, text: str
) -> None:
    edit = set_fact(name, value)
    registry.forge("1.0.0", manifest=edit, index=edit)
    refusal = client.refusal(VERSION)
    assert refusal.startswith("error (malformed)")
    assert text in refusal


def test_facts_must_be_those_of_the_index(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    registry.forge("1.0.0", manifest=set_fact("memory", "1"))
    refusal = client.refusal(VERSION)
    assert re.match(r"error \(malformed\): xnnpack/red: memory: expected [0-9]{6}, found ", refusal)


def test_an_index_of_another_version_is_refused(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    def rename(index: dict[str, Any]) -> None:
        index["annotations"]["org.opencontainers.image.version"] = "1.1.0"

    registry.forge("1.0.0", index=rename)
    assert "image.version: expected 1.0.0" in client.refusal(VERSION)


def test_a_variant_that_stands_twice_is_refused(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    registry.forge("1.0.0", index=lambda index: index["manifests"].append(index["manifests"][0]))
    assert "expected each variant once" in client.refusal(VERSION)


@pytest.mark.parametrize(
    "data",
    [
        b'{"mediaType":"x","mediaType":"y"}',
        b'{"a":{"b":"\\"b\\":","b" : 1}}',
        b"[]",
        b"{",
        b"",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"null",
    ],
)
def test_what_is_no_document_is_refused(
    client: ReferenceClient, registry: ForgedRegistry, data: bytes
) -> None:
    registry.point("1.0.0", data)
    assert client.refusal(VERSION).startswith("error (malformed): tiny@1.0.0")


def test_keys_that_stand_twice_are_told_from_texts(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    tricky = {'"x":': '"x":', ":": ',"y":', "x": {"x": ["x", ":", '\\"']}, "y\\": "\\"}
    registry.forge("1.0.0", index=lambda index: index.update(tricky))
    assert client.pull(VERSION)["version"] == "1.0.0"
    data = json.dumps(registry.index("1.0.0")).encode().replace(b'{"x": [', b'{"x": 1, "x": [')
    registry.point("1.0.0", data)
    assert "a key stands twice" in client.refusal(VERSION)


def test_huge_documents_are_refused(
    client: ReferenceClient, registry: ForgedRegistry, server: StaticServer
) -> None:
    registry.move("1.0.0")
    registry.pointer().write_bytes(b" " * (10 << 20))
    assert "expected at most 65536 bytes" in client.refusal(STABLE)
    (registry.folder / ref_key(NAME, "1.1.0")).write_bytes(b" " * (10 << 20))
    assert "expected at most 1048576 bytes" in client.refusal(f"{NAME}@1.1.0")
    key = ref_key(NAME, "1.0.0")
    registry.write(key, registry.read(key) | {"size": (8 << 20) + 1})
    assert client.refusal(VERSION).startswith("error (malformed): tiny@1.0.0: size: expected")


def test_an_altered_document_is_found_and_named(
    client: ReferenceClient, registry: ForgedRegistry
) -> None:
    digest = registry.read(ref_key(NAME, "1.0.0"))["digest"].removeprefix("sha256:")
    path = registry.folder / "blobs" / "sha256" / digest
    path.write_bytes(path.read_bytes().replace(b"forward", b"forwarD"))
    refusal = client.refusal(VERSION)
    assert refusal.startswith(f"error (damaged): blobs/sha256/{digest}: ")
    assert hash_bytes(path.read_bytes()) in refusal
