"""What an app must know of a variant to choose it and to plan its download.

The same annotations stand on the variant's manifest and on its descriptor in the
version's index, which is all that an app has to read before it decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ptefoundry.errors import RegistryError
from ptefoundry.registry.paths import check_path

PREFIX = "org.ptefoundry."
_LARGEST = 1 << 50
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,256}")
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RELEASE = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){2}")
_RANGE = re.compile(rf">=({_RELEASE.pattern}),<({_RELEASE.pattern})")
#: When an app should fetch what, as app stores put it.
_INSTALL = {
    f"{PREFIX}install.foundation": "prefetch",
    f"{PREFIX}install.program": "on-demand",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The annotations of one variant."""

    backend: str
    adapter: str
    """Name of the adapter, or `base`."""
    method: str
    """Entry point of the program."""
    program: str
    """Path of the program in the bundle."""
    size: int
    """Bytes of all its files."""
    memory: int
    """Bytes that running it takes: its weights, its program and what that plans for
    activations and caches. The same on all machines; what one really took is measured."""
    base: str
    """Name of the base."""
    base_digest: str | None = None
    """sha256 in hex of the base's files as they were fetched, if the bundle says it."""
    adapter_digest: str | None = None
    """sha256 in hex of the adapter's files as they were fetched, if the bundle says it."""
    foundation: str | None = None
    """`sha256:<hex>` of the weights that variants share; None where a backend has none."""
    foundation_size: int | None = None
    """Bytes of the foundation."""
    context: int | None = None
    """Tokens of prompt and answer that the caches hold."""
    executorch: str | None = None
    """Version that the program was exported with; None if the bundle does not say."""
    runtime: str | None = None
    """`>=1.5.1,<1.7.0`: releases of the runtime that are known to load the program."""

    def to_annotations(self) -> dict[str, str]:
        """As manifests have them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        named = {
            PREFIX + name.replace("_", "."): str(value)
            for name, value in values.items()
            if value is not None
        }
        return named | _INSTALL


def read_facts(annotations: Mapping[str, str], *, where: str) -> Facts:
    """The facts among a manifest's annotations; other annotations are ignored.

    Raises:
        RegistryError: one is missing or malformed; `where` names the manifest.
    """
    reader = _Reader(annotations, where)
    facts = Facts(
        backend=reader.word("backend"),
        adapter=reader.word("adapter"),
        method=reader.word("method"),
        program=check_path(
            reader.take("program", _TEXT, "a path"), where=f"{where}: {PREFIX}program"
        ),
        size=reader.number("size"),
        memory=reader.number("memory"),
        base=reader.take("base", _TEXT, "a text of one line"),
        base_digest=reader.hex("base.digest"),
        adapter_digest=reader.hex("adapter.digest"),
        foundation=reader.optional("foundation", _DIGEST, "a digest sha256:<64 hex digits>"),
        foundation_size=reader.optional_number("foundation.size"),
        context=reader.optional_number("context"),
        executorch=reader.optional("executorch", _WORD, "a version such as 1.5.1"),
        runtime=reader.optional("runtime", _RANGE, "a range such as >=1.5.1,<1.7.0"),
    )
    if (facts.foundation is None) != (facts.foundation_size is None):
        raise RegistryError(
            f"{where}: {PREFIX}foundation.size: expected with {PREFIX}foundation, and only then"
        )
    return facts


def runtime_range(executorch: str) -> str | None:
    """Releases of the runtime that load what one exporter wrote.

    ExecuTorch promises that a program runs on its own release and on the following one
    that is no patch (runtime/COMPATIBILITY.md); nothing is promised of older runtimes.

    Args:
        executorch: version of the exporter, such as `1.5.1`.

    Returns:
        `>=1.5.1,<1.7.0`; None for what is no release.
    """
    if not _RELEASE.fullmatch(executorch):
        return None
    major, minor, _ = (int(part) for part in executorch.split("."))
    return f">={executorch},<{major}.{minor + 2}.0"


def runtime_fits(runtime: str, version: str) -> bool:
    """Whether a range has a release.

    Args:
        runtime: as `Facts.runtime`.
        version: of the runtime, such as `1.5.1`.

    Raises:
        RegistryError: one of them is malformed.
    """
    bounds = _RANGE.fullmatch(runtime)
    if bounds is None or not _RELEASE.fullmatch(version):
        raise RegistryError(
            f"expected a release such as 1.5.1 and a range such as >=1.5.1,<1.7.0, found "
            f"{version!r} and {runtime!r}"
        )
    return _order(bounds[1]) <= _order(version) < _order(bounds[2])


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


class _Reader:
    """Annotations of our own, each with what it must be."""

    def __init__(self, annotations: Mapping[str, str], where: str) -> None:
        self._annotations, self._where = annotations, where

    def take(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        value = self.optional(key, pattern, expected)
        if value is None:
            raise RegistryError(f"{self._where}: {PREFIX}{key}: expected {expected}, found nothing")
        return value

    def optional(self, key: str, pattern: re.Pattern[str], expected: str) -> str | None:
        value = self._annotations.get(PREFIX + key)
        if value is not None and not pattern.fullmatch(value):
            raise RegistryError(
                f"{self._where}: {PREFIX}{key}: expected {expected}, found {value!r:.80}"
            )
        return value

    def word(self, key: str) -> str:
        return self.take(key, _WORD, "a word of letters, digits and . _ -")

    def hex(self, key: str) -> str | None:
        return self.optional(key, _HEX, "64 hex digits")

    def number(self, key: str) -> int:
        return self._bounded(key, self.take(key, _NUMBER, "a number"))

    def optional_number(self, key: str) -> int | None:
        text = self.optional(key, _NUMBER, "a number")
        return None if text is None else self._bounded(key, text)

    def _bounded(self, key: str, text: str) -> int:
        if (value := int(text)) > _LARGEST:
            raise RegistryError(
                f"{self._where}: {PREFIX}{key}: expected at most {_LARGEST}, found {value}"
            )
        return value
