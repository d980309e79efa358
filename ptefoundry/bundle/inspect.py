"""What is in a program, a data file or a bundle, as values that can be shown.

>>> report = inspect_bundle(Path("artifacts/bundle"))
>>> report.variants[0].own_bytes, report.variants[0].shared_bytes
(928064, 538157440)
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.bundle.manifest import (
    STORED_WEIGHTS,
    FileEntry,
    Variant,
    load_manifest,
)
from ptefoundry.bundle.weights import StoredWeights
from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.ptd import DataFile, read_ptd
from ptefoundry.lowering.pte import Constant, Method, Program, read_pte
from ptefoundry.lowering.segments import NamedData

_PROGRAM_IDENTIFIER, _DATA_IDENTIFIER = b"ET12", b"FT01"


@dataclass(frozen=True, kw_only=True)
class TensorReport:
    """A key and the bytes that a file has for it."""

    key: str
    size: int
    sha256: str
    segment: int
    """Number of the data segment; keys with the same one stand for the same bytes."""


@dataclass(frozen=True, kw_only=True)
class DelegateReport:
    """What of a method one backend computes."""

    backend: str
    partitions: int
    size: int
    """Bytes of the payloads."""
    keys: int
    """Different tensors that it loads."""


@dataclass(frozen=True, kw_only=True)
class MethodReport:
    """An entry point of a program."""

    name: str
    delegates: tuple[DelegateReport, ...]
    operators: tuple[str, ...]
    """Of what is not delegated."""
    planned_bytes: int
    """Memory for activations and mutable buffers."""


@dataclass(frozen=True, kw_only=True)
class ProgramReport:
    """A `.pte`."""

    path: str
    size: int
    methods: tuple[MethodReport, ...]
    constants: dict[str, tuple[Constant, ...]]
    """Metadata: name -> values."""
    tensors: tuple[TensorReport, ...]
    """Named data inside the file."""
    needs: tuple[str, ...]
    """Keys that must come from data files, sorted."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "program", **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """A `.ptd`."""

    path: str
    size: int
    identity: str
    """Digest of keys and contents, whatever their order and padding."""
    tensors: tuple[TensorReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "data", **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class VariantReport:
    """One program of a bundle and where its tensors come from."""

    backend: str
    adapter: str
    program: str
    data: tuple[str, ...]
    own_bytes: int
    """Of the program; 0 if it is other variants' too."""
    shared_bytes: int
    """Of the data files, and of a program that variants share as its methods."""
    own_keys: int
    """Tensors that the program loads from itself."""
    shared_keys: dict[str, int]
    """Data file -> number of tensors that the program loads from it."""
    missing_keys: tuple[str, ...]
    """Tensors that the program needs and no file has."""


@dataclass(frozen=True, kw_only=True)
class BundleReport:
    """A bundle's folder."""

    path: str
    name: str
    digest: str
    base: dict[str, str]
    adapters: dict[str, dict[str, str]]
    variants: tuple[VariantReport, ...]
    weights: dict[str, tuple[StoredWeights, ...]]
    """Backend -> what its data files store; nothing for a bundle that does not say it."""
    files: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files of the manifest."""
        return sum(entry.size for entry in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "bundle", "size": self.size, **asdict(self)}


Report = ProgramReport | DataReport | BundleReport


def inspect_path(path: Path) -> Report:
    """Describe a `.pte`, `.ptd` or bundle, told apart by its content.

    Raises:
        ArtifactError: it is none of them, or it is damaged.
    """
    if path.is_dir():
        return inspect_bundle(path)
    kind = _identifier(path)
    if kind == _PROGRAM_IDENTIFIER:
        return inspect_program(path)
    if kind == _DATA_IDENTIFIER:
        return inspect_data(path)
    raise ArtifactError(
        f"{path}: expected a program (.pte), a data file (.ptd) or a bundle's folder, "
        f"found a file that begins with {kind!r} at byte 4"
    )


def inspect_program(path: Path) -> ProgramReport:
    """Describe a `.pte`.

    Raises:
        ArtifactError: it cannot be read.
    """
    program = read_pte(path)
    computing = (method for method in program.methods if not method.constants)
    return ProgramReport(
        path=str(path),
        size=program.size,
        methods=tuple(_describe_method(method) for method in computing),
        constants=program.constants,
        tensors=_describe_tensors(program.entries),
        needs=tuple(sorted(program.needs)),
    )


def inspect_data(path: Path) -> DataReport:
    """Describe a `.ptd`.

    Raises:
        ArtifactError: it cannot be read.
    """
    data = read_ptd(path)
    return DataReport(
        path=str(path),
        size=data.size,
        identity=data.identity,
        tensors=_describe_tensors(data.entries),
    )


def inspect_bundle(folder: Path) -> BundleReport:
    """Describe a bundle and match the keys of its files.

    Raises:
        ArtifactError: the manifest or a file that it names cannot be read.
    """
    manifest = load_manifest(folder)
    # All variants of a backend share a data file: each is read once.
    names = sorted({name for variant in manifest.variants for name in variant.data})
    data = {name: read_ptd(folder / name) for name in names}
    users = Counter(variant.program for variant in manifest.variants)
    return BundleReport(
        path=str(folder),
        name=manifest.name,
        digest=manifest.digest,
        base=manifest.base,
        adapters=manifest.adapters,
        variants=tuple(
            _describe_variant(variant, read_pte(folder / variant.program), data, users)
            for variant in manifest.variants
        ),
        weights={
            backend: tuple(StoredWeights(**fields) for fields in options.get(STORED_WEIGHTS, ()))
            for backend, options in manifest.backends.items()
        },
        files=manifest.files,
    )


def _identifier(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)[4:]
    except OSError as error:
        raise ArtifactError(f"{path}: expected a file, found none ({error.strerror})") from error


def _describe_method(method: Method) -> MethodReport:
    backends = sorted({delegate.backend for delegate in method.delegates})
    return MethodReport(
        name=method.name,
        delegates=tuple(_describe_delegates(method, backend) for backend in backends),
        operators=method.operators,
        planned_bytes=method.planned_bytes,
    )


def _describe_delegates(method: Method, backend: str) -> DelegateReport:
    delegates = [delegate for delegate in method.delegates if delegate.backend == backend]
    return DelegateReport(
        backend=backend,
        partitions=len(delegates),
        size=sum(delegate.size for delegate in delegates),
        keys=len({key for delegate in delegates for key in delegate.keys}),
    )


def _describe_tensors(entries: tuple[NamedData, ...]) -> tuple[TensorReport, ...]:
    return tuple(
        TensorReport(key=entry.key, size=entry.size, sha256=entry.digest, segment=entry.segment)
        for entry in entries
    )


def _describe_variant(
    variant: Variant, program: Program, data: dict[str, DataFile], users: Mapping[str, int]
) -> VariantReport:
    own_program = users[variant.program] == 1
    needs = frozenset().union(*(method.needs for method in program.methods))
    own = needs - program.needs
    shared = {name: program.needs & data[name].keys for name in variant.data}
    return VariantReport(
        backend=variant.backend,
        adapter=variant.adapter,
        program=variant.program,
        data=variant.data,
        own_bytes=program.size if own_program else 0,
        shared_bytes=sum(data[name].size for name in variant.data)
        + (0 if own_program else program.size),
        own_keys=len(own),
        shared_keys={name: len(keys) for name, keys in shared.items()},
        missing_keys=tuple(sorted(program.needs.difference(*shared.values()))),
    )
