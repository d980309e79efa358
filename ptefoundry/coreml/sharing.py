"""Proof that a program's methods share the base: which bytes of the weights who uses.

Positional sharing is silent when it fails: a partition that differs in one method, or a base
tensor that was computed twice and not alike, only makes the file larger. So the program is
read back and each adapter is charged with what nobody else uses.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ptefoundry.coreml.lowering import BACKEND
from ptefoundry.coreml.methods import Method
from ptefoundry.coreml.reading import CoremlProgram, StoredModel
from ptefoundry.errors import VerificationError
from ptefoundry.workspace import BASE_VARIANT

TOLERANCE = 0.02
"""Share of the bytes that an adapter needs which it may use beside them."""


@dataclass(frozen=True, kw_only=True)
class VariantBytes:
    """What one variant has in the program."""

    adapter: str
    """Name of the adapter, or `base`."""
    own_bytes: int
    """Bytes of weights that only its methods use."""
    needed_bytes: int
    """Bytes of weights that it needs beside the base's; 0 for the base."""
    text_bytes: int
    """Bytes of its functions' program text."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Who uses which bytes of a program."""

    partitions: int
    """Models, each with a weight file; every method has a function in each."""
    shared_bytes: int
    """Bytes of weights that several variants use."""
    weight_bytes: int
    """Bytes of the weight files, with headers and padding."""
    program_bytes: int
    """Bytes of the whole file."""
    variants: tuple[VariantBytes, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def check_sharing(program: CoremlProgram, needed: Mapping[str, int]) -> Sharing:
    """Check a program's structure and who uses which weights.

    Args:
        program: what was read back.
        needed: bytes of weights that each adapter needs beside the base's, by its name.

    Raises:
        VerificationError: methods, references or functions are not those that its metadata
            lists, or an adapter uses more weights than it needs.
    """
    _check_methods(program, needed)
    models = _check_references(program)
    for model in models:
        _check_model(program, model)
    sharing = _measure(program, models, needed)
    _check_bytes(program, sharing)
    return sharing


def _check_methods(program: CoremlProgram, needed: Mapping[str, int]) -> None:
    path = program.program.path
    listed, found = {method.name for method in program.methods}, set(program.references)
    if listed != found:
        raise VerificationError(
            f"{path}: expected the methods of its metadata ({', '.join(sorted(listed))}), found "
            f"{', '.join(sorted(found))}; the export is broken"
        )
    adapters = {method.adapter for method in program.methods}
    if adapters != {BASE_VARIANT, *needed}:
        raise VerificationError(
            f"{path}: expected the adapters {', '.join(sorted(needed)) or '(none)'}, found "
            f"{', '.join(sorted(adapters - {BASE_VARIANT}))}; the export is broken"
        )
    for method in program.program.methods:
        others = {delegate.backend for delegate in method.delegates} - {BACKEND}
        if others or method.operators:
            raise VerificationError(
                f"{path}: method {method.name}: expected only {BACKEND}, found "
                f"{', '.join(sorted({*others, *method.operators}))}; the export is broken"
            )


def _check_references(program: CoremlProgram) -> list[StoredModel]:
    """The models in the order of the partitions."""
    path, first = program.program.path, program.methods[0]
    keys = [reference.key for reference in program.references[first.name]]
    if not keys or len({*keys}) != len(keys) or {*keys} != {*program.models}:
        raise VerificationError(
            f"{path}: method {first.name}: expected each of {len(program.models)} models once, "
            f"found references to {keys}; the export is broken"
        )
    for method in program.methods:
        references = program.references[method.name]
        if [reference.key for reference in references] != keys:
            raise VerificationError(
                f"{path}: method {method.name}: expected the {len(keys)} models of method "
                f"{first.name}, found {[reference.key for reference in references]}; "
                "they do not share their weights"
            )
        if any(reference.function != method.function for reference in references):
            raise VerificationError(
                f"{path}: method {method.name}: expected the function {method.function}, found "
                f"{[reference.function for reference in references]}; the export is broken"
            )
    return [program.models[key] for key in keys]


def _check_model(program: CoremlProgram, model: StoredModel) -> None:
    expected = {method.name: method.function for method in program.methods}
    described = {one.name: one for one in model.model.description.functions}
    functions = set(model.model.mlProgram.functions)
    if not functions == set(described) == set(expected.values()):
        raise VerificationError(
            f"{model.where}: expected the functions {sorted(expected.values())}, found "
            f"{sorted(functions)}, described {sorted(described)}; the export is broken"
        )
    names = {
        method: {
            "inputNames": [value.name for value in described[function].input],
            "outputNames": [value.name for value in described[function].output],
        }
        for method, function in expected.items()
    }
    if model.metadata.get("methods") != names:
        raise VerificationError(
            f"{model.where}: metadata.json: expected the inputs and outputs of the functions, "
            "found others; the export is broken"
        )
    if model.key != f"coreml_{model.metadata.get('identifier')}":
        raise VerificationError(
            f"{model.where}: metadata.json: identifier: expected that of the key, found "
            f"{model.metadata.get('identifier')!r}; the export is broken"
        )


def _measure(
    program: CoremlProgram, models: list[StoredModel], needed: Mapping[str, int]
) -> Sharing:
    variants: dict[str, list[Method]] = {}
    for method in program.methods:
        variants.setdefault(method.adapter, []).append(method)
    own, shared = dict.fromkeys(variants, 0), 0
    for model in models:
        users: dict[int, set[str]] = {offset: set() for offset in model.weights.offsets()}
        for method in program.methods:
            for offset in model.used_blobs(method.function):
                users[offset].add(method.adapter)
        for offset, adapters in users.items():
            size = len(model.weights.blob(offset).data)
            if len(adapters) == 1:
                own[next(iter(adapters))] += size
            else:
                shared += size
    return Sharing(
        partitions=len(models),
        shared_bytes=shared,
        weight_bytes=sum(model.weights.size for model in models),
        program_bytes=program.program.size,
        variants=tuple(
            VariantBytes(
                adapter=adapter,
                own_bytes=own[adapter],
                needed_bytes=needed.get(adapter, 0),
                text_bytes=sum(
                    model.text_bytes(method.function) for model in models for method in methods
                ),
            )
            for adapter, methods in variants.items()
        ),
    )


def _check_bytes(program: CoremlProgram, sharing: Sharing) -> None:
    for variant in sharing.variants:
        if variant.adapter == BASE_VARIANT:
            continue
        limit = variant.needed_bytes * (1 + TOLERANCE)
        if variant.own_bytes > limit:
            raise VerificationError(
                f"{program.program.path}: adapter {variant.adapter}: expected at most "
                f"{int(limit)} bytes of weights that no other variant uses ({TOLERANCE:.0%} more "
                f"than it needs), found {variant.own_bytes}; it does not share the base, "
                "report it with params.yaml"
            )
