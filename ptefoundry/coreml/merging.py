"""Combining converted methods into one Core ML model with a function for each.

coremltools' own `save_multifunction` reads all functions with all their weights into memory,
calls constants equal that differ by less than an epsilon after a hash of their first
hundred elements, and names things at random. Here the models' own program text is kept, and
only the places of its weights are renamed: memory does not grow with the functions, and
constants are shared if and only if their bytes are equal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.coreml.weight_file import WeightReader, WeightWriter
from ptefoundry.errors import BuildError
from ptefoundry.files import atomic_writer
from ptefoundry.lowering.segments import map_file

if TYPE_CHECKING:
    from coremltools.proto.Model_pb2 import Model

_SOURCE_FUNCTION = "main"
WEIGHTS_PATH = "@model_path/weights/weight.bin"
"""How models name their weight file."""


@dataclass(frozen=True, kw_only=True)
class ConvertedPart:
    """One partition of one method, as coremltools converted it."""

    function: str
    """What it is to be called."""
    model: Path
    """Protobuf with the one function `main`."""
    weights: Path | None
    """None for one without large constants."""


def merge_parts(parts: Sequence[ConvertedPart], weights: Path) -> "Model":
    """One model of all parts; the first one's function is the default.

    Args:
        parts: of different methods, in the order that their weights shall have.
        weights: the weight file to write.

    Raises:
        BuildError: a part is not what coremltools makes of a method.
    """
    from coremltools.proto.Model_pb2 import Model

    merged = Model()
    with atomic_writer(weights) as file:
        writer = WeightWriter(file)
        for part in parts:
            _add(merged, part, writer)
        writer.finish()
    merged.description.defaultFunctionName = parts[0].function
    return merged


def blob_values(function: Any) -> Iterator[Any]:
    """All references to the weight file in a function, in the order of its text."""
    for _name, block in sorted(function.block_specializations.items()):
        yield from _blob_values(block)


def _add(merged: "Model", part: ConvertedPart, writer: WeightWriter) -> None:
    model = read_model(part.model)
    if set(model.mlProgram.functions) != {_SOURCE_FUNCTION}:
        raise BuildError(
            f"{part.function}: expected one function {_SOURCE_FUNCTION} from coremltools, found "
            f"{sorted(model.mlProgram.functions)}; use the version in requirements.lock"
        )
    function = merged.mlProgram.functions[part.function]
    function.CopyFrom(model.mlProgram.functions[_SOURCE_FUNCTION])
    _move_weights(function, part, writer)
    merged.specificationVersion = max(merged.specificationVersion, model.specificationVersion)
    merged.mlProgram.version = model.mlProgram.version
    description = merged.description.functions.add()
    description.name = part.function
    description.input.extend(model.description.input)
    description.output.extend(model.description.output)
    description.state.extend(model.description.state)


def _move_weights(function: Any, part: ConvertedPart, writer: WeightWriter) -> None:
    """Copy a function's weights to the common file and let it name them there."""
    references = list(blob_values(function))
    if not references:
        return
    if part.weights is None:
        raise BuildError(f"{part.function}: expected a weight file from coremltools, found none")
    reader = WeightReader(map_file(part.weights), str(part.weights))
    for reference in references:
        if reference.fileName != WEIGHTS_PATH:
            raise BuildError(
                f"{part.function}: expected weights in {WEIGHTS_PATH}, found "
                f"{reference.fileName!r}; use the version of coremltools in requirements.lock"
            )
        reference.offset = writer.add(reader.blob(reference.offset))


def read_model(path: Path) -> "Model":
    """A model's protobuf."""
    from coremltools.proto.Model_pb2 import Model

    model = Model()
    model.ParseFromString(path.read_bytes())
    return model


def _blob_values(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        # Maps of protobuf have no order of their own.
        for _name, argument in sorted(operation.inputs.items()):
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "value":
                    yield from _blob_of(binding.value)
        for _name, value in sorted(operation.attributes.items()):
            yield from _blob_of(value)
        for inner in operation.blocks:
            yield from _blob_values(inner)


def _blob_of(value: Any) -> Iterator[Any]:
    if value.WhichOneof("value") == "blobFileValue":
        yield value.blobFileValue
