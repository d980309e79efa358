"""Where a machine runs a CoreML program, changed in a copy of it.

The program says it itself, in a compile spec of each delegate, and ExecuTorch's runtime has no
option for it. Names of units differ by a few bytes, so the new one is written in the place of
the old one, where the FlatBuffer has room for it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.coreml.lowering import BACKEND
from ptefoundry.errors import ConfigError
from ptefoundry.lowering.flatbuffer import Buffer
from ptefoundry.lowering.segments import map_file

# Field numbers of tables in ExecuTorch's program.fbs.
_PROGRAM_PLANS, _PLAN_DELEGATES, _DELEGATE_ID, _DELEGATE_SPECS = 1, 7, 0, 2
_SPEC_KEY, _SPEC_VALUE = 0, 1
_KEY = "compute_units"
#: What follows a vector of bytes begins at a multiple of 2 at least, and is not zero.
_ALIGNMENT = 4


@contextmanager
def with_units(program: Path, units: str | None) -> Iterator[Path]:
    """A program that runs on some units, for as long as the block runs.

    Args:
        program: the `.pte`, which has been read without error.
        units: as `backends.coreml.compute_units` has them; None: those of the program.

    Yields:
        The program itself where it says so already, else a temporary copy.

    Raises:
        ConfigError: it has no room for the name.
        ArtifactError: it is cut or altered.
    """
    places = [] if units is None else list(_find_units(program))
    if units is None or all(found == units for _, found, _ in places):
        yield program
        return
    name = units.encode()
    for _, found, room in places:
        if len(name) > room:
            raise ConfigError(
                f"--compute-units: {program}, built for {found}, has no room for {units}; set "
                f"backends.coreml.compute_units: {units} in params.yaml and build it"
            )
    with tempfile.TemporaryDirectory(prefix="ptefoundry-") as folder:
        copy = Path(folder, program.name)
        shutil.copyfile(program, copy)
        with copy.open("r+b") as file:
            for at, _, room in places:
                file.seek(at)
                file.write(len(name).to_bytes(4, "little") + name.ljust(room, b"\0"))
        yield copy


def _find_units(program: Path) -> Iterator[tuple[int, str, int]]:
    """Of each delegate where its units stand (their length first), they, and bytes for them."""
    buffer = Buffer(map_file(program), str(program))
    for plan in buffer.root().tables(_PROGRAM_PLANS):
        for delegate in plan.tables(_PLAN_DELEGATES):
            if delegate.string(_DELEGATE_ID) != BACKEND:
                continue
            for spec in delegate.tables(_DELEGATE_SPECS):
                place = spec.string_at(_SPEC_VALUE)
                if spec.string(_SPEC_KEY) == _KEY and place is not None:
                    at, size = place
                    yield at - 4, buffer.text(at, size), _room(buffer, at, size)


def _room(buffer: Buffer, at: int, size: int) -> int:
    """Bytes for a vector of `size` bytes with the padding after it."""
    padding = -size % _ALIGNMENT
    return size + (0 if any(buffer.slice(at + size, padding)) else padding)
