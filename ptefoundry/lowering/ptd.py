"""Reading `.ptd` files: named tensors and blobs that programs share."""

from dataclasses import dataclass
from pathlib import Path

from ptefoundry.digest import hash_json
from ptefoundry.lowering.segments import FileKind, NamedData, map_file, open_layout, read_named_data

_PTD = FileKind(
    what="an ExecuTorch data file (.ptd)",
    identifier=b"FT01",
    header_magic=b"FH01",
    header_format="QQQQ",  # offset and size of the FlatBuffer, start and size of segments
    segments_field=1,
)
_NAMED_DATA = 2


@dataclass(frozen=True)
class DataFile:
    """What a `.ptd` holds."""

    path: Path
    size: int
    """Bytes of the file."""
    entries: tuple[NamedData, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The names that programs ask for."""
        return frozenset(entry.key for entry in self.entries)

    @property
    def identity(self) -> str:
        """Digest of keys and contents, whatever their order and padding."""
        return hash_json(sorted((entry.key, entry.digest) for entry in self.entries))


def read_ptd(path: Path) -> DataFile:
    """Read a `.ptd`; its contents are hashed when they are asked for.

    Raises:
        ArtifactError: it is missing, cut, or no such file.
    """
    data = map_file(path)
    layout = open_layout(path, data, _PTD)
    return DataFile(path, len(data), read_named_data(layout, _NAMED_DATA))
