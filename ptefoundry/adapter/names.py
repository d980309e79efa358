"""Names that adapters may have in a bundle.

A name becomes a file name, a part of URLs and the name of a method in a program.
"""

import re
from collections.abc import Collection

from ptefoundry.errors import ConfigError

RESERVED = frozenset({"base", "forward", "prefill", "decode"})
"""`base` is the bundle's variant without an adapter; the others name methods of programs."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def check_name(name: str, *, where: str, taken: Collection[str] = ()) -> str:
    """Return `name` if an adapter may be called that.

    Args:
        name: what somebody wrote down.
        where: file and field it comes from, for the message.
        taken: names that are in use already.

    Raises:
        ConfigError: it is malformed, reserved or taken.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: expected an adapter name of the form [a-z0-9][a-z0-9_-]*, found {name!r}"
        )
    if name in RESERVED:
        raise ConfigError(
            f"{where}: adapter name {name!r} is reserved (as are {', '.join(sorted(RESERVED))}); "
            "choose another name"
        )
    if name in taken:
        raise ConfigError(
            f"{where}: adapter name {name!r} is used twice; give each adapter its own name"
        )
    return name
