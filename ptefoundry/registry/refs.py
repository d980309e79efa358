"""Versions: each is one object that is created once and says which index it is."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from ptefoundry.digest import canonical_json
from ptefoundry.errors import (
    ConfigError,
    ConflictError,
    ObjectExistsError,
    ObjectMissingError,
    RegistryError,
)
from ptefoundry.registry.documents import (
    DOCUMENT_LIMIT,
    FORMAT_VERSION,
    Clock,
    format_time,
    read_fields,
    replace_document,
)
from ptefoundry.registry.names import (
    REFS,
    check_name,
    check_version,
    ref_key,
    version_order,
)
from ptefoundry.registry.parallel import for_each
from ptefoundry.registry.store.interface import Store


@dataclass(frozen=True, kw_only=True)
class VersionRef:
    """What stands under a version's name."""

    name: str
    version: str
    digest: str
    """Of the version's index, `sha256:<hex>`."""
    size: int
    """Bytes of the index."""
    time: str
    """When it was pushed, RFC 3339."""
    by: str
    """Who pushed it."""
    removed: str | None = None
    """When its content was given up; the name stays taken."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        return canonical_json({"format": FORMAT_VERSION, **fields})


def parse_ref(data: bytes, *, name: str, version: str, where: str) -> VersionRef:
    """Read a version's object.

    Raises:
        RegistryError: it is malformed, or of another name or version.
    """
    fields = read_fields(data, where=where)
    return VersionRef(
        name=fields.same("name", name),
        version=fields.same("version", version),
        digest=fields.digest("digest"),
        size=fields.count("size"),
        time=fields.time("time"),
        by=fields.text("by"),
        removed=fields.optional_text("removed"),
    )


def create_ref(store: Store, ref: VersionRef) -> VersionRef:
    """Publish a version; returns what stands there, which is older if it was there already.

    Raises:
        ConflictError: the version exists with other content, or was removed.
    """
    try:
        store.create(ref_key(ref.name, ref.version), ref.to_bytes())
    except ObjectExistsError:
        found = find_ref(store, ref.name, ref.version)
        check_same_content(found, ref.digest)
        return found
    return ref


def check_same_content(found: VersionRef, digest: str) -> None:
    """Refuse to push other content under a version that is there.

    Raises:
        ConflictError: it has other content, or was removed.
    """
    if found.removed is not None:
        raise ConflictError(
            f"{found}: expected a new version, found one that was removed on {found.removed}; "
            "versions are never used again: push under the next number"
        )
    if found.digest != digest:
        raise ConflictError(
            f"{found}: expected a new version or the same content, found {found.digest}, pushed by "
            f"{found.by} on {found.time}, instead of {digest}; push under the next number"
        )


def find_ref(store: Store, name: str, version: str) -> VersionRef:
    """The version of that name.

    Raises:
        RegistryError: there is none, or it is malformed.
    """
    found = look_up_ref(store, name, version)
    if found is None:
        raise RegistryError(
            f"{store.url}: {name}@{version}: expected a version, found none; `ptefoundry ls` "
            "lists what there is"
        )
    return found


def look_up_ref(store: Store, name: str, version: str) -> VersionRef | None:
    """The version of that name, None if there is none.

    Raises:
        RegistryError: it is malformed.
    """
    key = ref_key(name, version)
    try:
        data, _ = store.read(key, limit=DOCUMENT_LIMIT)
    except ObjectMissingError:
        return None
    return parse_ref(data, name=name, version=version, where=f"{store.url}{key}")


def list_refs(store: Store, name: str | None = None) -> list[VersionRef]:
    """All versions of a name or of all names, by name and in the order of versions.

    Raises:
        StoreError: the store cannot list.
        RegistryError: one of them is malformed.
    """
    found = for_each(lambda names: find_ref(store, *names), _list_names(store, name))
    return sorted(found, key=lambda ref: (ref.name, version_order(ref.version)))


def remove_ref(store: Store, ref: VersionRef, *, clock: Clock) -> VersionRef:
    """Give a version's content up; the name stays taken, and `restore_ref` undoes it.

    Nothing changes if it was given up before.
    """

    def remove(found: VersionRef) -> VersionRef:
        return found if found.removed else replace(found, removed=format_time(clock()))

    return _change(store, ref, remove)


def restore_ref(store: Store, ref: VersionRef) -> VersionRef:
    """Undo `remove_ref`; what became of the content is the caller's to check."""
    return _change(store, ref, lambda found: replace(found, removed=None))


def _change(
    store: Store, ref: VersionRef, change: Callable[[VersionRef], VersionRef]
) -> VersionRef:
    changed = ref

    def rewrite(data: bytes | None) -> bytes:
        nonlocal changed
        if data is None:
            raise RegistryError(f"{store.url}{key}: expected a version, found none")
        where = f"{store.url}{key}"
        changed = change(parse_ref(data, name=ref.name, version=ref.version, where=where))
        return changed.to_bytes()

    key = ref_key(ref.name, ref.version)
    replace_document(store, key, rewrite)
    return changed


def _list_names(store: Store, name: str | None) -> Iterator[tuple[str, str]]:
    prefix = f"{REFS}{check_name(name)}/" if name is not None else REFS
    for info in store.list(prefix):
        parts = info.key.removeprefix(REFS).removesuffix(".json").split("/")
        try:
            found = check_name(parts[0]), check_version("/".join(parts[1:]))
        except ConfigError as error:
            raise RegistryError(f"{store.url}{info.key}: {error}; remove it") from error
        if ref_key(*found) != info.key:
            raise RegistryError(f"{store.url}{info.key}: expected {ref_key(*found)}; remove it")
        yield found
