"""Durations as users write them: 90s, 30m, 72h, 7d."""

import re

from ptefoundry.errors import ConfigError

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 24 * 3600.0}


def parse_duration(text: str, *, where: str) -> float:
    """Seconds of a duration.

    Raises:
        ConfigError: it is none; `where` names the option.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where}: expected a duration such as 30m, 72h or 7d, found {text!r}")
    return int(match[1]) * _SECONDS[match[2]]
