"""Proof that a program's methods share the base: which bytes of the weights who uses.

Positional sharing is silent when it fails: a partition that differs in one method, or a base
tensor that was computed twice and not alike, only makes the file larger. So the program is
read back and each adapter is charged with everything beside the base's weights, whoever else
uses it too: a second copy of the base that two adapters share is none of their matrices.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ptefoundry.coreml.lowering import BACKEND
from ptefoundry.coreml.methods import Method
from ptefoundry.coreml.reading import CoremlProgram, StoredModel
from ptefoundry.digest import hash_bytes
from ptefoundry.errors import VerificationError
from ptefoundry.workspace import BASE_VARIANT

TOLERANCE = 0.02
"""Share of the bytes that an adapter needs which it may use beside them."""
BASE_TOLERANCE = 0.001
"""Share of the base's bytes in which its uses may differ: constants of a call's length."""


@dataclass(frozen=True, kw_only=True)
class VariantBytes:
    """What one variant has in the program."""

    adapter: str
    """Name of the adapter, or `base`."""
    own_bytes: int
    """Bytes of weights that its methods use beside the base's; of the base, that only its do."""
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
    repeated_bytes: int
    """Bytes of weights that stand in several weight files: a tied table, with graph breaks."""
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
            lists, or variants use more weights than the base's and what they need.
    """
    _check_methods(program, needed)
    models = _check_references(program)
    for model in models:
        _check_model(program, model)
    uses = _read_uses(program, models)
    sharing = _measure(uses, models, needed)
    _check_bytes(uses, sharing)
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


@dataclass(frozen=True)
class _Uses:
    """Which blobs of the weight files each method uses; a blob is a model's number and offset."""

    program: CoremlProgram
    methods: dict[Method, set[tuple[int, int]]]
    sizes: dict[tuple[int, int], int]
    """Bytes of each blob."""

    def of(self, adapter: str) -> list[set[tuple[int, int]]]:
        """What each method of a variant uses."""
        return [used for method, used in self.methods.items() if method.adapter == adapter]

    def union(self, adapter: str) -> set[tuple[int, int]]:
        """What a variant uses."""
        return set().union(*self.of(adapter))

    def bytes(self, blobs: Iterable[tuple[int, int]]) -> int:
        """Size of some blobs together."""
        return sum(self.sizes[blob] for blob in blobs)


def _read_uses(program: CoremlProgram, models: list[StoredModel]) -> _Uses:
    return _Uses(
        program,
        {
            method: {
                (number, offset)
                for number, model in enumerate(models)
                for offset in model.used_blobs(method.function)
            }
            for method in program.methods
        },
        {
            (number, offset): len(model.weights.blob(offset).data)
            for number, model in enumerate(models)
            for offset in model.weights.offsets()
        },
    )


def _measure(uses: _Uses, models: list[StoredModel], needed: Mapping[str, int]) -> Sharing:
    program = uses.program
    variants = {method.adapter: uses.union(method.adapter) for method in program.methods}
    base, adapters = variants[BASE_VARIANT], set().union(*map(uses.union, needed))
    users = Counter(blob for used in variants.values() for blob in used)
    return Sharing(
        partitions=len(models),
        shared_bytes=uses.bytes(blob for blob, count in users.items() if count > 1),
        repeated_bytes=_count_repeated(models),
        weight_bytes=sum(model.weights.size for model in models),
        program_bytes=program.program.size,
        variants=tuple(
            VariantBytes(
                adapter=name,
                own_bytes=uses.bytes(used - (adapters if name == BASE_VARIANT else base)),
                needed_bytes=needed.get(name, 0),
                text_bytes=sum(
                    model.text_bytes(method.function)
                    for model in models
                    for method in program.methods
                    if method.adapter == name
                ),
            )
            for name, used in variants.items()
        ),
    )


def _count_repeated(models: list[StoredModel]) -> int:
    """Bytes that would go if all models had one weight file; each has only once what it has."""
    sizes = Counter[tuple[int, str]]()
    for model in models:
        for offset in model.weights.offsets():
            data = model.weights.blob(offset).data
            sizes[len(data), hash_bytes(data)] += 1
    return sum(size * (count - 1) for (size, _), count in sizes.items())


def _check_bytes(uses: _Uses, sharing: Sharing) -> None:
    """Each adapter uses the base's weights and what it needs, and all of them no more than that.

    Raises:
        VerificationError: weights are stored that no variant needs.
    """
    base = uses.union(BASE_VARIANT)
    slack = int(BASE_TOLERANCE * uses.bytes(base))
    _check_lengths(uses, base, slack)
    adapters = [one for one in sharing.variants if one.adapter != BASE_VARIANT]
    for one in adapters:
        limit = int(one.needed_bytes * (1 + TOLERANCE))
        if one.own_bytes > limit:
            raise _not_shared(
                uses,
                f"adapter {one.adapter}",
                f"at most {limit} bytes of weights beside the base's ({TOLERANCE:.0%} more than "
                "it needs)",
                one.own_bytes,
            )
    own = next(one.own_bytes for one in sharing.variants if one.adapter == BASE_VARIANT)
    if adapters and own > slack:
        raise _not_shared(
            uses, "the base", f"at most {slack} bytes of weights that no adapter uses", own
        )


def _check_lengths(uses: _Uses, base: set[tuple[int, int]], slack: int) -> None:
    """The two methods of a variant, for one token and for many, use the same of the base."""
    for adapter in dict.fromkeys(method.adapter for method in uses.methods):
        first, *others = (used & base for used in uses.of(adapter))
        for other in others:
            if (found := uses.bytes(first ^ other)) > slack:
                raise _not_shared(
                    uses,
                    f"the methods of {adapter}",
                    f"the same weights of the base, but for {slack} bytes",
                    found,
                )


def _not_shared(uses: _Uses, who: str, expected: str, found: int) -> VerificationError:
    return VerificationError(
        f"{uses.program.program.path}: {who}: expected {expected}, found {found}; the base is not "
        "shared, report it with params.yaml"
    )
