"""What `fsck` finds: what is wrong where, and what to do about it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal[
    "malformed",
    "missing",
    "size",
    "content",
    "catalog",
    "history",
    "pointer",
    "channel",
    "trust",
    "tombstone",
    "foreign",
]
"""malformed: no document of its kind; missing: an object that is referred to is not there;
size, content: a blob is not what its name says; catalog: index.json is not the list of
versions, or channels.json not that of channels; history, pointer, channel: a channel's
records have gaps, its pointer is behind, it names what is no version; trust: clients with
this trust policy refuse a version or a channel; tombstone: a blob in use is noted as
garbage; foreign: the object belongs to no registry."""

MIRROR = (
    "copy it from a registry that has it with `ptefoundry mirror`, or give the version up with "
    "`ptefoundry gc --remove NAME@VERSION` and push it under the next number"
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be."""

    kind: Kind
    key: str
    """Of the object."""
    problem: str
    """What was expected and found."""
    remedy: str
    """What to do next."""
    harmless: bool = False
    """Whether nobody suffers from it."""
    repaired: bool = False


@dataclass(kw_only=True)
class Report:
    """All that `fsck` has to say."""

    versions: int = 0
    channels: int = 0
    blobs: int = 0
    bytes: int = 0
    """Of all blobs."""
    hashed: int = 0
    """Blobs that were read in full."""
    unreferenced: int = 0
    unreferenced_bytes: int = 0
    """Blobs that nothing refers to, which `gc` collects."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong that has not been repaired."""
        return all(finding.harmless or finding.repaired for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"sound": self.is_sound} | asdict(self)
