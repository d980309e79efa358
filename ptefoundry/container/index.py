"""Where an image's packages come from if not from a wheelhouse: as the caller's pip knows it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

CERTIFICATE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
"""Variables that name a file of certificate authorities, the strongest for pip first."""
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
"""In small letters; all engines know them, and keep them out of an image and its history."""

_ADDRESSES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_SETTINGS = (*_ADDRESSES, "PIP_TRUSTED_HOST")


@dataclass(frozen=True, kw_only=True)
class PackageIndex:
    """What pip is told of indexes, and how they are reached."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Variable of pip -> value, which may have several words."""
    certificates: Path | None = None
    """File of the authorities that certificates are checked with; None for the public ones."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    """Variable -> value, as the caller spells the variable."""

    def identity(self) -> Mapping[str, list[str]]:
        """The indexes by their addresses, as which of torch's builds they give is their choice.

        Without user names and passwords, which change, and without what only reaches them.
        """
        return {
            name: [_without_credentials(address) for address in self.settings[name].split()]
            for name in _ADDRESSES
            if name in self.settings
        }

    def pip_conf(self, certificates: str) -> str:
        """A configuration file of pip; empty if there is nothing to say.

        Args:
            certificates: where the image's build finds the file of the authorities.
        """
        lines = list(self._options(certificates))
        return "\n".join(("[global]", *lines, "")) if lines else ""

    def _options(self, certificates: str) -> Iterator[str]:
        for name, value in self.settings.items():
            option = name.removeprefix("PIP_").lower().replace("_", "-")
            yield f"{option} = {' '.join(value.split())}"
        if self.certificates is not None:
            yield f"cert = {certificates}"


def usual_index(environment: Mapping[str, str]) -> PackageIndex:
    """The indexes that variables name, and how they say that these are reached."""
    paths = (environment.get(name) for name in CERTIFICATE_VARIABLES)
    files = (Path(path) for path in paths if path)
    return PackageIndex(
        settings={name: environment[name] for name in _SETTINGS if environment.get(name)},
        certificates=next((file for file in files if file.is_file()), None),
        proxies={
            name: value
            for name, value in environment.items()
            if name.lower() in PROXY_VARIABLES and value
        },
    )


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
