"""Reading a CoreML program back, without Core ML: methods, models and who uses which weights."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.coreml.flat_folder import read_flat_folder
from ptefoundry.coreml.merging import WEIGHTS_PATH, blob_values
from ptefoundry.coreml.methods import ADAPTERS, ROLES, Method, role_constant
from ptefoundry.coreml.package import METADATA_FILE, MODEL_FILE, WEIGHTS_FILE
from ptefoundry.coreml.references import Reference, parse_reference
from ptefoundry.coreml.weight_file import WeightReader
from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.pte import Program, read_pte

if TYPE_CHECKING:
    from coremltools.proto.Model_pb2 import Model


@dataclass(frozen=True)
class StoredModel:
    """One of the program's Core ML models; a partition of all methods."""

    key: str
    files: dict[str, memoryview]
    """What its folder has, by path."""
    where: str
    """What errors call it."""

    @cached_property
    def model(self) -> "Model":
        """Its protobuf."""
        from coremltools.proto.Model_pb2 import Model
        from google.protobuf.message import DecodeError

        try:
            return Model.FromString(bytes(self.file(MODEL_FILE)))
        except DecodeError as error:
            raise ArtifactError(
                f"{self.where}: expected a Core ML model ({error}); build it again"
            ) from error

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What ExecuTorch's delegate reads."""
        try:
            metadata: dict[str, Any] = json.loads(bytes(self.file(METADATA_FILE)))
        except ValueError as error:
            raise ArtifactError(
                f"{self.where}: {METADATA_FILE}: expected JSON ({error}); build it again"
            ) from error
        return metadata

    @cached_property
    def weights(self) -> WeightReader:
        """Its weight file."""
        return WeightReader(self.file(WEIGHTS_FILE), f"{self.where}: {WEIGHTS_FILE}")

    def file(self, path: str) -> memoryview:
        """The content of a file.

        Raises:
            ArtifactError: there is none.
        """
        try:
            return self.files[path]
        except KeyError as error:
            raise ArtifactError(
                f"{self.where}: expected {path}, found only {', '.join(sorted(self.files))}; "
                "build it again"
            ) from error

    def used_blobs(self, function: str) -> set[int]:
        """Offsets of the blobs that a function uses.

        Raises:
            ArtifactError: it uses another file.
        """
        offsets = set()
        for reference in blob_values(self.model.mlProgram.functions[function]):
            if reference.fileName != WEIGHTS_PATH:
                raise ArtifactError(
                    f"{self.where}: {function}: expected weights in {WEIGHTS_PATH}, found "
                    f"{reference.fileName!r}; build it again"
                )
            offsets.add(int(reference.offset))
        return offsets

    def text_bytes(self, function: str) -> int:
        """Bytes of a function's program text."""
        return int(self.model.mlProgram.functions[function].ByteSize())


@dataclass(frozen=True)
class CoremlProgram:
    """What a `.pte` for CoreML holds."""

    program: Program
    methods: tuple[Method, ...]
    """As its metadata lists them."""
    references: dict[str, tuple[Reference, ...]]
    """Method -> what its delegates load, in order; of all that compute something."""
    models: dict[str, StoredModel]
    """By key."""


def read_program(path: Path) -> CoremlProgram:
    """Read a program.

    Raises:
        ArtifactError: it is no CoreML program of this project, cut or altered.
    """
    program = read_pte(path)
    models = {
        entry.key: StoredModel(
            key=entry.key,
            files=read_flat_folder(entry.blob.data, f"{path}: {entry.key}"),
            where=f"{path}: {entry.key}",
        )
        for entry in program.entries
    }
    references = {
        method.name: tuple(
            parse_reference(bytes(delegate.payload), f"{path}: {method.name}")
            for delegate in method.delegates
        )
        for method in program.methods
        if not method.constants
    }
    return CoremlProgram(
        program=program,
        methods=tuple(_listed_methods(path, program.constants)),
        references=references,
        models=models,
    )


def _listed_methods(path: Path, constants: Mapping[str, tuple[Any, ...]]) -> Iterator[Method]:
    try:
        adapters = constants[ADAPTERS]
        for role in ROLES:
            names = constants.get(role_constant(role, "methods"))
            if names is None and role != ROLES[0]:
                continue
            for adapter, name in zip(adapters, names or (), strict=True):
                yield Method(name=name, adapter=adapter, role=role)
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: expected the metadata {ADAPTERS} and a method of each role for each of "
            f"them ({error!r}); build it again"
        ) from error
