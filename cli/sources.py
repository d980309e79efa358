"""Sources of models as typed on a command line: a plain path is allowed there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptefoundry.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from ptefoundry.base.sources import FetchedSource


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A source with what was found there, as params.yaml keeps it."""

    source: str
    digest: str | None
    """None for files of this machine: the graph follows their content, so that
    changing an adapter is not an error but a reason to build it again."""

    def __str__(self) -> str:
        state = f"sha256 {self.digest}" if self.digest else "not pinned, changes are followed"
        return f"{self.source}, {state}"


def parse_typed_source(text: str, *, root: Path, where: str) -> str:
    """What params.yaml has to say for a source that was typed in the current folder.

    Args:
        text: a source, or a path from the current folder.
        root: the workspace, which `file:` is relative to.
        where: name of the argument, for messages.

    Raises:
        ConfigError: it is neither a source nor a path.
        SourceError: there is nothing at the path.
    """
    from ptefoundry.base.sources import parse_source

    path = Path(text).expanduser()
    if ":" not in text or path.exists():
        if not path.exists():
            raise SourceError(
                f"{where}: expected a file or folder, found nothing at {path.absolute()}; "
                "elsewhere than on this machine it is hf:org/name@revision, "
                "pypi:name==version/path, s3://bucket/prefix/ or https://host/path/file"
            )
        relative = os.path.relpath(path.resolve(), root.resolve())
        return f"file:{Path(relative).as_posix()}"
    parse_source(text, where=where)
    return text


def pin(source: str, found: "FetchedSource") -> Pinned:
    """What to write down of a source that was fetched.

    A branch or tag is replaced by the commit that it stood for.
    """
    from ptefoundry.base.sources import FileSource, HubSource, parse_source

    parsed = parse_source(source, where="source")
    if isinstance(parsed, FileSource):
        return Pinned(source=source, digest=None)
    if isinstance(parsed, HubSource) and found.resolved is not None:
        path = f"/{parsed.path}" if parsed.path else ""
        source = f"hf:{parsed.repo}@{found.resolved}{path}"
    return Pinned(source=source, digest=found.digest)


def guess_base_name(source: str) -> str:
    """What a base is probably called: `org/name` on the Hub, else the last part of its path."""
    from ptefoundry.base.sources import HubSource, parse_source

    parsed = parse_source(source, where="source")
    if isinstance(parsed, HubSource):
        return parsed.repo
    name = Path(source.partition(":")[2].rstrip("/")).name
    for suffix in (".gguf", ".safetensors"):
        name = name.removesuffix(suffix)
    if not name:
        raise ConfigError(f"{source}: cannot tell the base's name from it; give --base-name")
    return name
