"""A store as tests see it."""

from dataclasses import dataclass

from ptefoundry.registry.store.interface import Store

BUCKET = "models"


@dataclass(frozen=True)
class Side:
    """One store seen by whoever writes and by whoever reads."""

    writer: Store
    reader: Store
