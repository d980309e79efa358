"""A download that survives its process: the bytes so far and whose bytes they are.

`<name>.part` grows in the cache. `<name>.version` is written before the first
byte and names the content (an ETag, a digest): only the same version may be
continued. A continued download asks for its last byte again, so that it never
asks for nothing, which servers refuse, and learns whether the content changed
even when all of it is here.
"""

from collections.abc import Iterable
from pathlib import Path

from ptefoundry.files import place, write_text
from ptefoundry.report import Advance


class Partial:
    """The part of one file that has arrived so far."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.part"
        self._version = folder / f"{name}.version"

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def resume_point(self) -> tuple[int, str]:
        """(offset in bytes to ask from, version to ask for); (0, "") to start anew."""
        # A file that also has another name was handed out: writing into it would
        # change a result.
        if not self.path.exists() or not self._version.exists() or self.path.stat().st_nlink > 1:
            return 0, ""
        version = self._version.read_text()
        return (max(self.size - 1, 0), version) if version else (0, "")

    def restart(self, version: str) -> None:
        """Throw the bytes away; those that follow are of `version`, "" if it has no name."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._version, version)
        self.path.touch()

    def append(self, chunks: Iterable[bytes], *, offset: int, advance: Advance) -> None:
        """Write chunks from `offset` on: the resume point, or 0 after a restart."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            for chunk in chunks:
                file.write(chunk)
                advance(len(chunk))

    def place(self, target: Path) -> None:
        """Give the finished download its name in the result."""
        place(self.path, target)

    def discard(self) -> None:
        """Forget bytes and version."""
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)
