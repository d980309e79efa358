"""How a method's delegate names its Core ML model, as ExecuTorch 1.2 and later read it."""

import json
from dataclasses import dataclass

from ptefoundry.errors import ArtifactError

_MAGIC = b"CMJR"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Which function of which model a delegate runs."""

    key: str
    function: str

    def to_bytes(self) -> bytes:
        """The delegate's payload."""
        fields = {"version": _VERSION, "key": self.key, "functionName": self.function}
        return _MAGIC + json.dumps(fields).encode()


def parse_reference(payload: bytes, where: str) -> Reference:
    """The reference in a delegate's payload.

    Raises:
        ArtifactError: it is none, or of another version; `where` is what errors call it.
    """
    if not payload.startswith(_MAGIC):
        raise ArtifactError(
            f"{where}: expected a reference to a model ({_MAGIC.decode()}), found a payload that "
            f"begins with {payload[:4]!r}; build the program again"
        )
    try:
        fields = json.loads(payload.removeprefix(_MAGIC))
        version, key, function = fields["version"], fields["key"], fields["functionName"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{where}: expected a reference to a model ({error!r}); build the program again"
        ) from error
    if version != _VERSION:
        raise ArtifactError(
            f"{where}: version of the reference: expected {_VERSION}, found {version!r}; "
            "use a newer ptefoundry"
        )
    return Reference(key=key, function=function)
