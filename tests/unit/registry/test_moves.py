"""Promoting, rolling back and resolving, with and without a policy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import ConflictError, RegistryError, TrustError
from ptefoundry.registry.channel_rules import NEVER
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.moves import Move, follow_push, promote, roll_back
from ptefoundry.registry.names import channel_key, parse_reference, record_key, ref_key, yank_key
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.publish import SIGNATURES_TYPE
from ptefoundry.registry.referrers import Attachment, attach
from ptefoundry.registry.refs import VersionRef, create_ref, find_ref, remove_ref
from ptefoundry.registry.resolve import Resolved, resolve
from ptefoundry.registry.store.memory import MemoryStore
from ptefoundry.registry.trust.keys import Signer, generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.seen import SeenRecords
from ptefoundry.registry.trust.version_signatures import VersionFiles, sign_version
from ptefoundry.registry.yanks import Yank, yank

NOW, TIME = 1_800_000_000.0, "2027-01-15T08:00:00Z"
DAY = 24 * 3600.0
SIGNER, NEW = generate_signer(), generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
#: Of somebody who moves channels that need not expire.
LENIENT = replace(POLICY, require_expiry=False)
MOVE = Move(by="red", reason="tested", clock=lambda: NOW)
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@dataclass
class Client:
    """A store with versions, and a client that remembers what it has seen."""

    store: MemoryStore
    seen: SeenRecords

    @property
    def channel(self) -> Channel:
        return Channel(self.store, "assistant", "stable", signers=(SIGNER,), policy=LENIENT)

    def resolve(self, text: str, *, at: float = NOW, policy: TrustPolicy | None = None) -> Resolved:
        reference = parse_reference(text)
        return resolve(self.store, reference, policy=policy, seen=self.seen, clock=lambda: at)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    store = MemoryStore()
    for number, version in enumerate(VERSIONS):
        digest = f"sha256:{number:064}"
        create_ref(
            store,
            VersionRef(
                name="assistant", version=version, digest=digest, size=3, time=TIME, by="red"
            ),
        )
        sign(store, version, SIGNER, NEW)
    return Client(store, SeenRecords(tmp_path, store.url))


def sign(store: MemoryStore, version: str, *signers: Signer) -> None:
    """Attach signatures to a version, as a push does."""
    ref = find_ref(store, "assistant", version)
    files = VersionFiles(
        name="assistant",
        version=version,
        index=ref.digest,
        variants={"xnnpack/base": {"xnnpack/base.pte": "1" * 64}},
    )
    attachment = Attachment(
        artifact_type=SIGNATURES_TYPE,
        media_type=SIGNATURES_TYPE,
        files=sign_version(files, signers),
    )
    index = Descriptor(media_type=INDEX_TYPE, digest=ref.digest, size=ref.size)
    attach(store, index, [attachment], clock=lambda: NOW)


def test_a_version_is_promoted_and_rolled_back(client: Client) -> None:
    for version in VERSIONS:
        promote(client.store, client.channel, version, MOVE)
    assert client.resolve("assistant:stable").version == "1.2.0"
    assert roll_back(client.store, client.channel, MOVE).version == "1.1.0"
    assert client.resolve("assistant:stable").version == "1.1.0"
    assert roll_back(client.store, client.channel, MOVE).version == "1.0.0"
    assert roll_back(client.store, client.channel, MOVE, to="1.2.0").version == "1.2.0"
    actions = [stored.record.action for stored in client.channel.history()]
    assert actions == ["rollback"] * 3 + ["promote"] * 3


def test_rolling_back_to_what_never_was_is_refused(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", MOVE)
    with pytest.raises(RegistryError, match=r"found 1\.1\.0; .*promote"):
        roll_back(client.store, client.channel, MOVE, to="1.1.0")


def test_pushing_again_does_not_move(client: Client) -> None:
    first = follow_push(client.store, client.channel, "1.0.0", MOVE)
    assert follow_push(client.store, client.channel, "1.0.0", MOVE) == first
    refreshed = promote(client.store, client.channel, "1.0.0", MOVE)
    assert (refreshed.number, refreshed.action) == (2, "refresh")


@pytest.mark.parametrize("move", [promote, follow_push])
def test_yanked_and_removed_versions_are_not_offered(
    client: Client, move: Callable[[MemoryStore, Channel, str, Move], object]
) -> None:
    yank(
        client.store,
        Yank(name="assistant", version="1.1.0", reason="crashes", time=TIME, by="red"),
    )
    remove_ref(client.store, _ref(client, "1.2.0"), clock=lambda: NOW)
    with pytest.raises(RegistryError, match=r"yanked on .*: crashes"):
        move(client.store, client.channel, "1.1.0", MOVE)
    with pytest.raises(RegistryError, match="removed on"):
        move(client.store, client.channel, "1.2.0", MOVE)
    with pytest.raises(RegistryError, match="found none"):
        move(client.store, client.channel, "9.0.0", MOVE)
    assert client.channel.newest() is None
    assert client.resolve("assistant@1.1.0").yanked is not None
    with pytest.raises(RegistryError, match="removed on"):
        client.resolve("assistant@1.2.0")


def test_a_rollback_counts_for_what_was_seen(client: Client) -> None:
    for version in VERSIONS:
        promote(client.store, client.channel, version, MOVE)

    client.store = _Meanwhile(client.store, ref_key("assistant", "1.1.0"))
    client.store.act = lambda: promote(client.store, client.channel, "1.0.0", MOVE)
    with pytest.raises(ConflictError, match="nobody to move it meanwhile"):
        roll_back(client.store, client.channel, MOVE)
    assert client.resolve("assistant:stable").version == "1.0.0"


def test_old_and_expired_pointers_are_refused(client: Client) -> None:
    valid = replace(MOVE, valid_s=7 * DAY)
    promote(client.store, client.channel, "1.0.0", valid)
    key = channel_key("assistant", "stable")
    old, _ = client.store.read(key, limit=9999)
    promote(client.store, client.channel, "1.1.0", valid)
    assert client.resolve("assistant:stable", policy=POLICY).version == "1.1.0"
    with pytest.raises(TrustError, match="expired on 2027-01-22"):
        client.resolve("assistant:stable", at=NOW + 8 * DAY, policy=POLICY)
    _, token = client.store.read(key, limit=9999)
    client.store.replace(key, old, token)
    with pytest.raises(TrustError, match="somebody shows an old one"):
        client.resolve("assistant:stable", policy=POLICY)


def test_under_a_policy_channels_must_expire(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", MOVE)
    with pytest.raises(TrustError, match="expires: expected a time"):
        client.resolve("assistant:stable", policy=POLICY)
    assert client.resolve("assistant:stable").version == "1.0.0"


@pytest.mark.parametrize(
    ("signers", "policy", "said"),
    [
        ((), None, "expected a key to sign with.*--key"),
        ((), LENIENT, "expected a signature of a trusted key.*found none; .*--key"),
        ((generate_signer(),), LENIENT, "expected a signature of a trusted key.*found only"),
        ((SIGNER,), POLICY, "expected a time until which .*--valid"),
    ],
)
def test_a_move_that_clients_would_refuse_is_not_made(
    client: Client, signers: tuple[Signer, ...], policy: TrustPolicy | None, said: str
) -> None:
    for version in VERSIONS[:2]:
        promote(client.store, client.channel, version, MOVE)
    channel = Channel(client.store, "assistant", "stable", signers=signers, policy=policy)
    for move in (promote, follow_push):
        with pytest.raises(TrustError, match=said):
            move(client.store, channel, "1.2.0", MOVE)
    with pytest.raises(TrustError, match=said):
        roll_back(client.store, channel, MOVE)
    assert len(list(client.channel.history())) == 2


def trusting(client: Client, *keys: Signer, **limits: float) -> Channel:
    """The channel of a writer who has the new key; `limits` are the old one's."""
    trusted = tuple(
        TrustedKey(key=key.public, **(limits if key is SIGNER else {}))  # type: ignore[arg-type]
        for key in keys
    )
    policy = TrustPolicy(keys=trusted)
    return Channel(client.store, "assistant", "stable", signers=(NEW,), policy=policy)


WEEK = replace(MOVE, valid_s=7 * DAY)


def test_a_new_key_goes_on_from_the_old_one_when_told_so(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for version in VERSIONS[:2]:
        promote(client.store, client.channel, version, WEEK)
    channel = trusting(client, NEW)
    old = SIGNER.public.id[:16]
    said = rf"number 2 \(promote of 1\.1\.0 by 'red' .*signed by {old}\).*--adopt 2"
    for move in (WEEK, replace(WEEK, adopt=1)):
        for refused in (promote, follow_push):
            with pytest.raises(TrustError, match=said):
                refused(client.store, channel, "1.1.0", move)
        with pytest.raises(TrustError, match=said):
            roll_back(client.store, channel, move)
    assert caplog.messages == []
    moved = promote(client.store, channel, "1.1.0", replace(WEEK, adopt=2))
    assert (moved.number, moved.action) == (3, "refresh")
    assert [f"signed by {old}" in text for text in caplog.messages] == [True]
    assert client.resolve("assistant:stable", policy=channel.policy).version == "1.1.0"
    assert promote(client.store, channel, "1.2.0", WEEK).number == 4
    accepted = [channel.refusal(one) is None for one in channel.history()]
    assert accepted == [True, True, False, False]
    assert roll_back(client.store, channel, WEEK).version == "1.1.0"


def test_versions_that_a_removed_key_alone_named_are_not_gone_back_to(client: Client) -> None:
    for version in VERSIONS[:2]:
        promote(client.store, client.channel, version, WEEK)
    channel = trusting(client, NEW)
    promote(client.store, channel, "1.2.0", replace(WEEK, adopt=2))
    with pytest.raises(RegistryError, match=r"none to go back to; .*promote"):
        roll_back(client.store, channel, WEEK)
    with pytest.raises(RegistryError, match=r"found 1\.0\.0; .*promote"):
        roll_back(client.store, channel, WEEK, to="1.0.0")
    retired = trusting(client, NEW, SIGNER, not_after=NOW)
    later = replace(WEEK, clock=lambda: NOW + DAY)
    assert roll_back(client.store, retired, later).version == "1.1.0"


def test_a_retired_key_does_not_date_records_back_for_writers(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", WEEK)
    later = replace(WEEK, clock=lambda: NOW + DAY)
    retired = trusting(client, NEW, SIGNER, not_after=NOW)
    with pytest.raises(TrustError, match="--adopt 1"):
        promote(client.store, retired, "1.0.0", later)


def test_a_channel_that_nobody_signed_is_adopted_when_told_so(client: Client) -> None:
    promote(client.store, Channel(client.store, "assistant", "stable"), "1.0.0", MOVE)
    channel = trusting(client, NEW)
    with pytest.raises(TrustError, match=r"signed by nobody.*--adopt 1"):
        promote(client.store, channel, "1.0.0", WEEK)
    assert promote(client.store, channel, "1.0.0", replace(WEEK, adopt=1)).number == 2


def test_without_a_policy_it_is_said_whom_a_signed_record_follows(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    promote(client.store, client.channel, "1.0.0", WEEK)
    channel = Channel(client.store, "assistant", "stable", signers=(NEW,))
    for _ in range(2):
        promote(client.store, channel, "1.0.0", WEEK)
    assert [SIGNER.public.id[:16] in text for text in caplog.messages] == [True]


def test_a_number_that_somebody_without_a_key_chose_is_not_gone_on_from(client: Client) -> None:
    promoted = promote(client.store, client.channel, "1.0.0", WEEK)
    key = channel_key("assistant", "stable")
    _, token = client.store.read(key, limit=9999)
    last = replace(promoted, number=99_999_998, previous="sha256:" + "0" * 64)
    client.store.replace(key, last.to_bytes(), token)
    with pytest.raises(TrustError, match=r"number 99999998 .*signed by nobody"):
        promote(client.store, client.channel, "1.1.0", WEEK)
    with pytest.raises(RegistryError, match="the history was altered"):
        promote(client.store, client.channel, "1.1.0", replace(WEEK, adopt=99_999_998))


def test_what_is_put_there_meanwhile_is_not_followed(client: Client) -> None:
    promoted = promote(client.store, client.channel, "1.0.0", WEEK)
    previous, _ = client.store.read(record_key("assistant", "stable", 1), limit=9999)
    forged = replace(promoted, number=2, previous=f"sha256:{hash_bytes(previous)}")
    store = _Meanwhile(client.store, ref_key("assistant", "1.1.0"))
    store.act = lambda: store.create(record_key("assistant", "stable", 2), forged.to_bytes())
    client.store = store
    with pytest.raises(TrustError, match=r"signed by nobody.*--adopt 2"):
        promote(store, client.channel, "1.1.0", WEEK)
    assert client.channel.pointer() is not None


def test_only_signed_versions_are_named_under_a_policy(client: Client) -> None:
    key = ref_key("assistant", "1.1.0")
    promote(client.store, client.channel, "1.1.0", WEEK)
    data, token = client.store.read(key, limit=9999)
    client.store.replace(key, data.replace(b"0" * 63 + b"1", b"6" * 64), token)
    with pytest.raises(TrustError, match=r"assistant@1\.1\.0: expected a signature of the whole"):
        promote(client.store, client.channel, "1.1.0", WEEK)
    careless = Channel(client.store, "assistant", "stable", signers=(SIGNER,))
    with pytest.raises(RegistryError, match="somebody altered the registry"):
        promote(client.store, careless, "1.1.0", WEEK)


def test_a_record_is_valid_as_long_as_the_one_before(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", WEEK)
    promote(client.store, client.channel, "1.1.0", replace(MOVE, valid_s=DAY))
    later = replace(MOVE, clock=lambda: NOW + 3600)
    assert roll_back(client.store, client.channel, later).expires == "2027-01-16T09:00:00Z"
    assert follow_push(client.store, client.channel, "1.1.0", later).valid_s == DAY
    careless = Channel(client.store, "assistant", "stable", signers=(SIGNER,))
    assert promote(client.store, careless, "1.2.0", later).valid_s == DAY
    assert promote(client.store, careless, "1.2.0", replace(MOVE, valid_s=NEVER)).expires is None
    with pytest.raises(TrustError, match="--valid never if that is meant"):
        promote(client.store, careless, "1.2.0", MOVE)
    strict = Channel(client.store, "assistant", "stable", signers=(SIGNER,), policy=POLICY)
    with pytest.raises(TrustError, match="as the trust policy demands one"):
        promote(client.store, strict, "1.2.0", replace(MOVE, valid_s=NEVER))


def test_what_the_policy_does_not_accept_says_nothing_of_validity(client: Client) -> None:
    promote(client.store, Channel(client.store, "assistant", "stable"), "1.0.0", WEEK)
    with pytest.raises(TrustError, match="expected a time until which"):
        promote(client.store, trusting(client, NEW), "1.0.0", replace(MOVE, adopt=1))


def test_pushing_again_adds_what_was_lacking(client: Client) -> None:
    bare = Channel(client.store, "assistant", "stable")
    follow_push(client.store, bare, "1.0.0", MOVE)
    assert follow_push(client.store, bare, "1.0.0", WEEK).number == 2
    assert follow_push(client.store, bare, "1.0.0", replace(MOVE, valid_s=NEVER)).number == 3
    assert follow_push(client.store, bare, "1.0.0", MOVE).number == 3
    signed = Channel(client.store, "assistant", "stable", signers=(SIGNER,))
    forever = replace(MOVE, valid_s=NEVER)
    assert follow_push(client.store, signed, "1.0.0", forever).number == 4
    assert follow_push(client.store, signed, "1.0.0", forever).number == 4
    both = Channel(client.store, "assistant", "stable", signers=(SIGNER, NEW))
    assert follow_push(client.store, both, "1.0.0", forever).number == 5
    assert follow_push(client.store, both, "1.0.0", WEEK).number == 6


def test_a_yank_that_comes_between_is_told(client: Client) -> None:
    promote(client.store, client.channel, "1.0.0", WEEK)
    note = Yank(name="assistant", version="1.1.0", reason="crashes", time=TIME, by="blue")
    store = _Meanwhile(client.store, yank_key("assistant", "1.1.0"), after=True)
    store.act = lambda: yank(store, note)
    client.store = store
    with pytest.raises(ConflictError, match=r"number 2 names 1\.1\.0 now.*crashes.*rollback"):
        promote(store, client.channel, "1.1.0", WEEK)


def test_who_signs_nothing_moves_channels_that_nobody_signs(client: Client) -> None:
    for version in VERSIONS[:2]:
        promote(client.store, Channel(client.store, "assistant", "stable"), version, MOVE)
    assert client.resolve("assistant:stable").version == "1.1.0"


@pytest.mark.parametrize("text", ["assistant", "assistant:beta", "assistant@9.0.0", "other@1.0.0"])
def test_what_is_not_there_is_said(client: Client, text: str) -> None:
    with pytest.raises(RegistryError, match=r"expected a .*ptefoundry ls"):
        client.resolve(text)


class _Meanwhile(MemoryStore):
    """Acts once, when a key is read: before that, or after."""

    def __init__(self, of: MemoryStore, key: str, *, after: bool = False) -> None:
        super().__init__()
        self.__dict__.update(of.__dict__)
        self._key, self._after = key, after
        self.act: Callable[[], object] | None = None

    def read(self, key: str, *, limit: int) -> tuple[bytes, str]:
        if key != self._key or self.act is None:
            return super().read(key, limit=limit)
        act, self.act = self.act, None
        if not self._after:
            act()
            return super().read(key, limit=limit)
        try:
            return super().read(key, limit=limit)
        finally:
            act()


def _ref(client: Client, version: str) -> VersionRef:
    found = client.resolve(f"assistant@{version}")
    return VersionRef(
        name="assistant",
        version=version,
        digest=found.index.digest,
        size=found.index.size,
        time=TIME,
        by="red",
    )
