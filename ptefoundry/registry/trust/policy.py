"""Trust policies: whose signatures a client demands, for which bundles and when.

A policy that names keys demands a signature of one of them for everything. Without a
policy nothing is verified, and that is said once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ptefoundry.errors import TrustError
from ptefoundry.registry.documents import format_time
from ptefoundry.registry.trust.dsse import Envelope, verify_envelope
from ptefoundry.registry.trust.keys import PublicKey


@dataclass(frozen=True, kw_only=True)
class TrustedKey:
    """A public key and what it may sign."""

    key: PublicKey
    names: frozenset[str] | None = None
    """Bundles that it may sign, None for all."""
    not_before: float | None = None
    """Seconds since 1970 from which its signatures count, None for always."""
    not_after: float | None = None
    """Seconds since 1970 after which its signatures count no longer, None for never."""

    def check_time(self, at: float, *, where: str) -> None:
        """Refuse the key outside of its time.

        Raises:
            TrustError: `at` (seconds since 1970) is before or after it.
        """
        if self.not_before is not None and at < self.not_before:
            limit = f"counts from {format_time(self.not_before)} on"
        elif self.not_after is not None and at > self.not_after:
            limit = f"counted until {format_time(self.not_after)}"
        else:
            return
        raise TrustError(
            f"{where}: expected a key that counts on {format_time(at)}, found {self.key.id[:16]}, "
            f"which {limit} (trust policy)"
        )


@dataclass(frozen=True, kw_only=True)
class TrustPolicy:
    """What a client demands; there is at least one key."""

    keys: tuple[TrustedKey, ...]
    require_expiry: bool = True
    """Whether a channel that never expires is refused, as it could be frozen for ever."""

    def verify(self, envelope: Envelope, payload_type: str, *, name: str, where: str) -> TrustedKey:
        """The key that has signed an envelope about a bundle, whatever the time.

        Args:
            envelope: to be verified.
            payload_type: that it must have.
            name: of the bundle that was asked for.
            where: names the envelope in errors.

        Raises:
            TrustError: none of the keys that may has signed it.
        """
        return self._choose(envelope, payload_type, self._for_name(name), where)

    def verify_at(
        self, envelope: Envelope, payload_type: str, *, name: str, at: float, where: str
    ) -> TrustedKey:
        """As `verify`, by a key that counts at that time (seconds since 1970).

        Raises:
            TrustError: none of the keys that may has signed it.
        """
        usable = []
        for trusted in self._for_name(name):
            try:
                trusted.check_time(at, where=where)
            except TrustError:
                continue
            usable.append(trusted)
        try:
            return self._choose(envelope, payload_type, usable, where)
        except TrustError:
            # Signed by a key that does not count now: that is what to say.
            self.verify(envelope, payload_type, name=name, where=where).check_time(at, where=where)
            raise

    def _for_name(self, name: str) -> list[TrustedKey]:
        return [item for item in self.keys if item.names is None or name in item.names]

    def _choose(
        self, envelope: Envelope, payload_type: str, usable: Iterable[TrustedKey], where: str
    ) -> TrustedKey:
        by_id = {item.key.id: item for item in usable}
        keys = [item.key for item in by_id.values()]
        return by_id[verify_envelope(envelope, payload_type, keys, where=where).id]
