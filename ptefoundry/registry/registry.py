"""A registry: a store, and what it was found to be able to do."""

from dataclasses import dataclass

from ptefoundry.digest import canonical_json
from ptefoundry.errors import ObjectMissingError, RegistryError
from ptefoundry.registry.channel_list import ensure_channel_list
from ptefoundry.registry.documents import (
    DOCUMENT_LIMIT,
    FORMAT_VERSION,
    read_fields,
    replace_document,
)
from ptefoundry.registry.names import CONFIG_KEY, INDEX_KEY, LAYOUT_KEY
from ptefoundry.registry.oci import ImageIndex
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.probe import Capabilities, adapt, probe

_LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})


@dataclass(frozen=True)
class Registry:
    """An open registry."""

    store: Store
    capabilities: Capabilities

    @property
    def url(self) -> str:
        """Names it in messages."""
        return self.store.url

    @property
    def identity(self) -> str:
        """Tells it from all others: buckets of one name are at many endpoints."""
        endpoint = getattr(self.store, "endpoint", None)
        return self.url if endpoint is None else f"{endpoint} {self.url}"


def init_registry(store: Store) -> Registry:
    """Make a registry of a store, or find out anew what the store of an old one can do.

    Raises:
        StoreError: the store cannot be reached, or not written to.
        ConfigError: it lacks what no registry can do without.
    """
    capabilities = probe(store)
    capabilities.check(label=store.url)
    replace_document(store, LAYOUT_KEY, lambda _found: _LAYOUT)
    empty = ImageIndex(manifests=()).to_bytes()
    replace_document(store, INDEX_KEY, lambda found: empty if found is None else found)
    config = canonical_json({"format": FORMAT_VERSION, "capabilities": capabilities.to_dict()})
    ensure_channel_list(store)
    replace_document(store, CONFIG_KEY, lambda _found: config)
    adapt(store, capabilities)
    return Registry(store, capabilities)


def open_registry(store: Store) -> Registry:
    """Open a registry that was made before.

    Raises:
        StoreError: the store cannot be reached.
        RegistryError: there is none, or one of a newer format.
    """
    try:
        data, _ = store.read(CONFIG_KEY, limit=DOCUMENT_LIMIT)
    except ObjectMissingError as error:
        raise RegistryError(
            f"{store.url}: expected a registry, found no {CONFIG_KEY}; check the address, or make "
            "one with `ptefoundry registry init`"
        ) from error
    where = f"{store.url}{CONFIG_KEY}"
    capabilities = Capabilities.from_dict(
        read_fields(data, where=where).value("capabilities"), where=f"{where}: capabilities"
    )
    adapt(store, capabilities)
    return Registry(store, capabilities)
