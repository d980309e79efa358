"""`pypi:name==version/path/in/wheel`: a file or folder out of a wheel.

The wheel is downloaded by pip, so pip's own configuration (index, proxy,
credentials, find-links) applies; nothing in it is installed or run.
"""

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from ptefoundry.base.sources.source import check_inner_path
from ptefoundry.base.sources.wanted import Wanted, near_names
from ptefoundry.errors import BuildError, ConfigError, SourceError
from ptefoundry.process import run
from ptefoundry.report import Advance, progress

_SPEC = re.compile(
    r"pypi:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)/(?P<path>.+)"
)
_CHUNK_BYTES = 1 << 20
_NETWORK_TROUBLE = ("Retrying (", "ConnectionError", "ConnectTimeout", "NewConnectionError")


@dataclass(frozen=True)
class PypiSource:
    """A path inside the wheel of one version of a package."""

    spec: str
    name: str
    version: str
    path: str

    def fetch(self, into: Path, *, wanted: Wanted, root: Path, cache: Path) -> None:  # noqa: ARG002
        """See `Source.fetch`."""
        wheel = self._wheel(self._folder(cache))
        try:
            with ZipFile(wheel) as archive:
                self._extract(archive, into, wanted)
        except BadZipFile as error:
            wheel.unlink(missing_ok=True)
            raise SourceError(
                f"{self.spec}: expected a whole wheel, {wheel.name} is damaged ({error}); it has "
                "been removed from the cache: run again"
            ) from error

    def forget(self, cache: Path) -> None:
        """See `Source.forget`."""
        shutil.rmtree(self._folder(cache), ignore_errors=True)

    def _folder(self, cache: Path) -> Path:
        return cache / "wheels" / f"{_normalized(self.name)}-{self.version}"

    def _wheel(self, folder: Path) -> Path:
        """The wheel in the cache folder; downloaded if it is not there."""
        found = sorted(folder.glob("*.whl"))
        if not found:
            folder.mkdir(parents=True, exist_ok=True)
            # pip writes the file under its final name while it is still growing.
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                self._download(Path(temporary))
                wheel = self._only_wheel(Path(temporary))
                found = [wheel.replace(folder / wheel.name)]
        return found[0]

    def _download(self, folder: Path) -> None:
        requirement = f"{self.name}=={self.version}"
        options = ("--no-deps", "--only-binary", ":all:", "--dest", folder)
        quiet = ("--no-input", "--progress-bar", "off", "--disable-pip-version-check")
        try:
            with progress(f"Downloading {requirement}", None):
                run((sys.executable, "-m", "pip", "download", *quiet, *options, requirement))
        except BuildError as error:
            raise SourceError(self._explain(str(error))) from error

    def _only_wheel(self, folder: Path) -> Path:
        """Check that what pip left is the wheel that was asked for."""
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename
        from packaging.version import InvalidVersion, Version

        names = sorted(path.name for path in folder.iterdir())
        try:
            (name,) = names
            project, version, _build, _tags = parse_wheel_filename(name)
            fits = project == _normalized(self.name) and version == Version(self.version)
        except (ValueError, InvalidWheelFilename, InvalidVersion):
            fits = False
        if not fits:
            raise SourceError(
                f"{self.spec}: expected one wheel of {self.name} {self.version}, pip delivered "
                f"{', '.join(names) or 'nothing'}; check the index in `pip config list`"
            )
        return folder / names[0]

    def _extract(self, archive: ZipFile, into: Path, wanted: Wanted) -> None:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        prefix, chosen = self._choose(names, wanted)
        total = sum(archive.getinfo(prefix + name).file_size for name in chosen)
        with progress(f"Extracting {self.path}", total) as advance:
            for name in chosen:
                _extract_member(archive, prefix + name, into / name, advance)

    def _choose(self, names: list[str], wanted: Wanted) -> tuple[str, tuple[str, ...]]:
        """The folder in the wheel, with its slash, and the files to take below it."""
        folder, slash, name = self.path.rpartition("/")
        if self.path in names:
            wanted.check_named(name, spec=self.spec)
            return folder + slash, (name,)
        prefix = f"{self.path}/"
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if not inside:
            raise SourceError(
                f"{self.spec}: the wheel has no {self.path!r}; "
                f"it has {near_names(self.path, names)}"
            )
        return prefix, wanted.choose(inside, spec=self.spec)

    def _explain(self, output: str) -> str:
        """The message for a failure of pip, with the next step."""
        if "No module named pip" in output:
            advice = f"this Python has no pip: run `{sys.executable} -m ensurepip`"
        elif any(sign in output for sign in _NETWORK_TROUBLE):
            advice = "the package index cannot be reached: check the network and `pip config list`"
        elif "from versions: none" in output:
            advice = "the package index has no such package, or is not reached: check the spelling"
        elif "No matching distribution" in output:
            advice = (
                "the index has no wheel of this version for this Python: compare with "
                f"`pip index versions {self.name}`"
            )
        else:
            advice = "see what pip says"
        return f"{self.spec}: could not download the wheel; {advice}\n{output}"


def parse_pypi(spec: str, *, where: str) -> PypiSource:
    """Parse `pypi:name==version/path/in/wheel`.

    Raises:
        ConfigError: a part is missing, or the path leaves the wheel.
    """
    found = _SPEC.fullmatch(spec)
    if not found:
        raise ConfigError(
            f"{where}: expected pypi:name==version/path/in/wheel (the file or folder to take out "
            f"of the wheel), found {spec!r}"
        )
    path = check_inner_path(found["path"], spec=spec, where=where)
    return PypiSource(spec, found["name"], found["version"], path)


def _extract_member(archive: ZipFile, member: str, target: Path, advance: Advance) -> None:
    """Copy one member; reading it to the end checks its CRC."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            advance(len(chunk))


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
