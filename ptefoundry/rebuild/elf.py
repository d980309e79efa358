"""An ELF file (the runner and its libraries on Linux) as regions: its sections by name.

Layout: the System V ABI's `elf.h`, 64 bits, little-endian.
"""

import struct
from pathlib import Path

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.segments import map_file
from ptefoundry.rebuild.difference import Region

IDENTIFIER = b"\x7fELF"
_FILE_HEADER_BYTES = 64
#: Of the file header: offset of the section headers; their size, number and that of the names.
_SECTION_HEADERS_AT, _SECTION_COUNTS_AT = 40, 58
#: Name, type, flags, address, offset, size of a section header.
_SECTION = struct.Struct("<IIQQQQ")
_OCCUPIES_NO_FILE = 8


def elf_regions(path: Path) -> list[Region]:
    """The file header, then every section that has bytes, by name.

    Raises:
        ArtifactError: it is no such file, or it is cut.
    """
    data = map_file(path)
    try:
        (start,) = struct.unpack_from("<Q", data, _SECTION_HEADERS_AT)
        size, count, names_index = struct.unpack_from("<HHH", data, _SECTION_COUNTS_AT)
        headers = [_SECTION.unpack_from(data, start + size * index) for index in range(count)]
        names_at, names_size = headers[names_index][4:6]
    except (struct.error, IndexError) as error:
        raise ArtifactError(
            f"{path}: expected an ELF file with sections ({error}); build it again"
        ) from error
    names = bytes(data[names_at : names_at + names_size])
    regions = [Region(name="ELF header", data=data[:_FILE_HEADER_BYTES])]
    for name_at, kind, _flags, _address, offset, length in headers:
        if kind == _OCCUPIES_NO_FILE or not length:
            continue
        name = names[name_at:].partition(b"\0")[0].decode("ascii", "replace")
        regions.append(Region(name=f"section {name}", data=data[offset : offset + length]))
    return regions
