"""Where a trust policy comes from: params.yaml, a file of its own, or the environment.

The most particular one counts alone: what the caller names, else PTEFOUNDRY_TRUST, else
the workspace's params.yaml. A file holds what params.yaml has under `trust`, or is just
a public key in PEM.
"""

import functools
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ptefoundry.errors import ConfigError
from ptefoundry.params import TrustKeyParams, TrustParams
from ptefoundry.registry.names import check_name
from ptefoundry.registry.trust.keys import is_pem, load_public_key
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.typed_yaml import check_types, read_yaml
from ptefoundry.workspace import PARAMS_FILE

TRUST_VARIABLE = "PTEFOUNDRY_TRUST"
"""Environment variable with the path of a policy or public key, or a public key in PEM."""
_log = logging.getLogger("ptefoundry")


def find_policy(
    *,
    file: Path | None = None,
    section: TrustParams | None = None,
    root: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> TrustPolicy | None:
    """The policy that counts; None if there is none, so that nothing is to be verified.

    Args:
        file: that the user named.
        section: `trust` of the workspace's params.yaml.
        root: of that workspace.
        environment: of the process.

    Raises:
        ConfigError: it is malformed, or a key in it cannot be read.
    """
    if file is not None:
        return load_policy(file)
    if setting := environment.get(TRUST_VARIABLE, "").strip():
        return _of_key(setting, TRUST_VARIABLE) if is_pem(setting) else load_policy(Path(setting))
    if section is None or root is None:
        return None
    return make_policy(section, root, where=f"{root / PARAMS_FILE}: trust")


def load_policy(path: Path) -> TrustPolicy:
    """Read a file with a policy, or with a public key.

    Raises:
        ConfigError: it is missing or malformed, or names no key: a file that was asked
            for must not turn verification off.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a trust policy or a public key ({error})") from error
    if is_pem(text):
        return _of_key(text, str(path))
    section = check_types(path, read_yaml(path), TrustParams)
    policy = make_policy(section, path.parent, where=str(path))
    if policy is None:
        raise ConfigError(f"{path}: keys: expected at least one key, found none")
    return policy


def make_policy(section: TrustParams, folder: Path, *, where: str) -> TrustPolicy | None:
    """A policy of its section; None if it names no keys.

    Args:
        section: as it was read.
        folder: from which paths of keys begin.
        where: names the section in errors.

    Raises:
        ConfigError: a key, a name or a time in it is not usable.
    """
    keys = tuple(
        _trusted_key(entry, folder, f"{where}: keys[{at}]") for at, entry in enumerate(section.keys)
    )
    ids = [item.key.id for item in keys]
    for keyid in ids:
        if ids.count(keyid) > 1:
            raise ConfigError(f"{where}: keys: expected different keys, found {keyid[:16]} twice")
    return TrustPolicy(keys=keys, require_expiry=section.require_expiry) if keys else None


@functools.cache
def warn_unverified() -> None:
    """Say that nothing is verified; once in a process."""
    _log.warning(
        "no trust policy names keys, so signatures are not verified; "
        "see docs/trust.md for `trust` in %s and %s",
        PARAMS_FILE,
        TRUST_VARIABLE,
    )


def _of_key(pem: str, where: str) -> TrustPolicy:
    return TrustPolicy(keys=(TrustedKey(key=load_public_key(pem, where=where)),))


def _trusted_key(entry: TrustKeyParams, folder: Path, where: str) -> TrustedKey:
    source = entry.key if is_pem(entry.key) else str(folder / Path(entry.key).expanduser())
    not_before = _time(entry.not_before, f"{where}: not_before")
    not_after = _time(entry.not_after, f"{where}: not_after")
    if not_before is not None and not_after is not None and not_before >= not_after:
        raise ConfigError(
            f"{where}: not_after: expected a time after not_before, found {entry.not_after}"
        )
    if entry.names is not None and not entry.names:
        raise ConfigError(f"{where}: names: expected bundles, found none; leave it out for all")
    return TrustedKey(
        key=load_public_key(source, where=f"{where}: key"),
        names=None if entry.names is None else frozenset(map(check_name, entry.names)),
        not_before=not_before,
        not_after=not_after,
    )


def _time(text: str | None, where: str) -> float | None:
    """Seconds since 1970; without a time zone it is UTC, without an hour midnight."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{where}: expected a time such as 2027-01-31T12:00:00Z, found {text!r}"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
