"""A store as tests see it."""

from dataclasses import dataclass

from ptefoundry.registry.store.interface import Store

BUCKET = "models"


BAD_KEYS = ["", "/etc/passwd", "../outside", "a/../../b", "a//b", "a/.hidden", "a/", "a\\b", "a\nb"]


@dataclass(frozen=True)
class Side:
    """One store seen by whoever writes and by whoever reads."""

    writer: Store
    reader: Store
