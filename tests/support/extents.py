"""Whether a file shares its bytes with another one, as the file system says (ioctl_fiemap)."""

import fcntl
import struct
from pathlib import Path

_FIEMAP = 0xC020660B
_SYNC, _LAST, _SHARED = 0x1, 0x1, 0x2000
_HEAD, _EXTENT = "=QQLLLL", "=QQQQQLLLL"
_MOST = 64


def is_shared(path: Path) -> bool:
    """Whether every extent of a file is shared with another one."""
    head, size = struct.calcsize(_HEAD), struct.calcsize(_EXTENT)
    answer = bytearray(struct.pack(_HEAD, 0, 2**64 - 1, _SYNC, 0, _MOST, 0) + bytes(_MOST * size))
    with path.open("rb") as file:
        fcntl.ioctl(file.fileno(), _FIEMAP, answer)
    count = struct.unpack_from(_HEAD, answer)[3]
    flags = [struct.unpack_from(_EXTENT, answer, head + at * size)[5] for at in range(count)]
    assert flags, f"{path} has no extents"
    assert flags[-1] & _LAST, f"{path} has too many"
    return all(flag & _SHARED for flag in flags)
