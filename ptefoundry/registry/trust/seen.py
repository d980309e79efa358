"""The newest record of each channel that this client has seen: there is no way back.

One small file in the user's cache for each registry and channel. Whoever deletes it
forgets, and trusts the next record that is signed and has not expired.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.digest import hash_bytes, hash_json
from ptefoundry.errors import TrustError
from ptefoundry.files import versioned_json, write_json
from ptefoundry.registry.trust.channel_envelope import ChannelRecord

_FORMAT = 1


@dataclass(frozen=True)
class SeenRecords:
    """What this client has seen of a registry's channels."""

    folder: Path
    """In the user's cache."""
    registry: str
    """Identity of the registry; mirrors have their own state."""

    def admit(self, record: ChannelRecord, data: bytes, *, where: str) -> None:
        """Remember a record unless a newer one of its channel was seen before.

        Several processes may do so at once.

        Args:
            record: whose signature holds.
            data: its bytes.
            where: names it in errors.

        Raises:
            TrustError: it is older than one that was seen, or another one of its number.
        """
        path = self._path(record)
        with _locked(path):
            digest = f"sha256:{hash_bytes(data)}"
            if path.is_file() and self._compare(path, record, digest, where):
                return
            fields = {"registry": self.registry, "name": record.name, "channel": record.channel}
            write_json(
                path,
                {"format_version": _FORMAT, **fields, "number": record.number, "digest": digest},
            )

    def _path(self, record: ChannelRecord) -> Path:
        key = hash_json([self.registry, record.name, record.channel])
        return self.folder / f"{key}.json"

    def _compare(self, path: Path, record: ChannelRecord, digest: str, where: str) -> bool:
        """Whether the record is the one that was seen last; refuses what must not follow it."""
        forget = f"if the registry was made anew, delete {path}"
        with versioned_json(
            path, _FORMAT, what="a channel's newest record", remedy=forget, error=TrustError
        ) as fields:
            number, seen = int(fields["number"]), str(fields["digest"])
        if record.number < number:
            raise TrustError(
                f"{where}: expected record number {number} or a newer one, found {record.number}: "
                f"somebody shows an old one, or a cache on the way keeps it; {forget}"
            )
        if (record.number == number and digest != seen) or (
            record.number == number + 1 and record.previous != seen
        ):
            raise TrustError(
                f"{where}: expected the history to go on from {seen}, which was seen as number "
                f"{number}; found another history: somebody shows clients different ones; {forget}"
            )
        return record.number == number


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
