"""How the methods of a program are called: the one place that decides it.

Without `multifunction` the base's method is `forward` and an adapter's has the adapter's
name. With it the base has `forward` (one token) and `prefill` (many), and an adapter
`<adapter>_forward` and `<adapter>_prefill`.

CoreML's functions have the names of the methods, as far as its language allows: `-` is
written `_`, and a digit in front gets one before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ptefoundry.adapter.names import check_name
from ptefoundry.errors import ConfigError
from ptefoundry.workspace import BASE_VARIANT

Role = Literal["forward", "prefill"]
ROLES: tuple[Role, ...] = ("forward", "prefill")

#: Constant methods of a program: metadata that `ptefoundry.coreml.metadata` writes and reads.
ADAPTERS, CONTEXT, VOCABULARY, EOS_IDS = (
    "get_adapters",
    "get_max_context_len",
    "get_vocab_size",
    "get_eos_ids",
)
CACHE_SHAPE, DTYPE, FREQUENCIES = "get_cache_shape", "get_dtype", "get_rotary_frequencies"
_OF_ALL = (ADAPTERS, CONTEXT, VOCABULARY, EOS_IDS, CACHE_SHAPE, DTYPE, FREQUENCIES)
_OF_ROLES = ("methods", "input_len", "inputs", "caches")


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry point of the program."""

    name: str
    adapter: str
    """Name of the adapter, or `base`."""
    role: Role

    @property
    def function(self) -> str:
        """What the function is called in CoreML's models."""
        name = self.name.replace("-", "_")
        return f"_{name}" if name[0].isdigit() else name


def role_constant(role: Role, what: str) -> str:
    """Name of the constant method that says `what` of a role's methods."""
    assert what in _OF_ROLES
    return f"get_{role}_{what}"


def method_name(adapter: str, role: Role, *, multifunction: bool) -> str:
    """What an adapter's method (`base`: the base's) is called."""
    if adapter == BASE_VARIANT:
        return role
    return f"{adapter}_{role}" if multifunction else adapter


def list_methods(
    adapters: Iterable[str], *, multifunction: bool, where: str = "adapters"
) -> tuple[Method, ...]:
    """All methods of a program: the base's first, then the adapters' by name.

    Args:
        adapters: their names.
        multifunction: whether each variant has two methods.
        where: file and section that the names come from, for messages.

    Raises:
        ConfigError: a name is malformed, reserved, or leads to a method that exists.
    """
    names: list[str] = []
    for name in sorted(adapters):
        check_name(name, where=f"{where}.{name}", taken=names)
        names.append(name)
    _check_ambiguous(names, where)
    methods = [
        Method(name=method_name(one, role, multifunction=multifunction), adapter=one, role=role)
        for one in (BASE_VARIANT, *names)
        for role in (ROLES if multifunction else ROLES[:1])
    ]
    _check_unique(methods, where)
    return tuple(methods)


def _check_ambiguous(names: Sequence[str], where: str) -> None:
    """Refuse an adapter that is called as another one's method may be called.

    Whichever the mode, who reads the name would not know which of them is meant.
    """
    for name in names:
        for role in ROLES:
            if (other := f"{name}_{role}") in names:
                raise ConfigError(
                    f"{where}.{other}: expected another name than that of a method of adapter "
                    f"{name!r}, found {other!r}; rename one of the two"
                )


def _check_unique(methods: Sequence[Method], where: str) -> None:
    constants = {*_OF_ALL, *(role_constant(role, what) for role in ROLES for what in _OF_ROLES)}
    functions: dict[str, Method] = {}
    for method in methods:
        if method.name in constants:
            raise ConfigError(
                f"{where}.{method.adapter}: expected no name of the program's metadata, found "
                f"{method.name!r}; choose another name"
            )
        other = functions.setdefault(method.function, method)
        if other is not method:
            raise ConfigError(
                f"{where}.{method.adapter}: expected names that differ in CoreML, which has no "
                f"'-' in names of functions, found {method.adapter!r} beside {other.adapter!r}; "
                "rename one of the two"
            )
