"""params.yaml: what to build, as typed values.

One dataclass per section; each default is declared there and nowhere else.
Unknown keys, wrong types and impossible combinations are refused with the file,
the line and what to write instead.
"""

import functools
import re
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass
from ruamel.yaml.comments import CommentedMap

from ptefoundry.adapter.names import check_name
from ptefoundry.base.sources import parse_source
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.digest import parse_sha256
from ptefoundry.errors import ConfigError
from ptefoundry.schemes import Schemes, parse_embedding_scheme, parse_linear_scheme
from ptefoundry.typed_yaml import STRICT, check_types, line_of, parse_yaml, read_text
from ptefoundry.workspace import PARAMS_FILE

_BUNDLE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_AS_LINEAR = "same"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BundleParams:
    """`bundle`: how the result is called."""

    name: str
    """Name of the bundle in registries, `[a-z0-9][a-z0-9_-]*`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BaseParams:
    """`base`: the pretrained model."""

    name: str
    """What adapters call it in `base_model_name_or_path`, usually `org/model`."""
    source: str
    """Where it comes from; see `ptefoundry.base.sources`."""
    digest: str | None = None
    """sha256 of what is fetched; pinned by `ptefoundry init`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdapterParams:
    """`adapters.<name>`: one PEFT LoRA adapter."""

    source: str
    digest: str | None = None
    """sha256 of what is fetched; pinned by `ptefoundry adapter add`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class XnnpackParams:
    """`backends.xnnpack`: options of the CPU programs."""

    context_length: int = 1024
    """Tokens of prompt and answer together that the caches hold."""
    prefill_length: int | None = None
    """Most tokens that one call reads; None: the context, at most 512."""
    dtype: str = "fp32"
    """Type of activations, adapters and what is not quantized; only fp32 is built."""
    embedding: str = "none"
    """Form of the embedding table: none (fp32), fp16, or `<bits>,<group>` as `8,0` and `4,32`."""
    linear: str = "none"
    """Form of the layers' linears: none, fp16, `8da4w,<group>` (a multiple of 32), `8da8w,0`."""
    head: str = _AS_LINEAR
    """Form of the output head: same (as `linear`), or one of its values."""
    templates: Literal["signature", "shared"] = "signature"
    """What adapters are linked into: a template for each signature, or one that they all
    share, in which lower ranks and missing linears are filled up with zeros."""

    @property
    def prefill(self) -> int:
        """Most tokens that one call reads."""
        return min(self.context_length, self.prefill_length or 512)

    @property
    def schemes(self) -> Schemes:
        """`embedding`, `linear` and `head` as numbers."""
        return Schemes(
            embedding=parse_embedding_scheme(self.embedding),
            linear=parse_linear_scheme(self.linear),
            head=parse_linear_scheme(self.head_form),
        )

    @property
    def head_form(self) -> str:
        """`head`, or what it is the same as."""
        return self.linear if self.head == _AS_LINEAR else self.head


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackendParams:
    """`backends`: one section for each kind of program to build."""

    xnnpack: XnnpackParams | None = None
    """None: not built."""
    coreml: CoremlParams | None = None
    """None: not built."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SmokeParams:
    """`smoke`: what every program must answer as its original does."""

    prompts: tuple[str, ...]
    """User messages, put through the chat template where there is one."""
    tokens: int = 32
    """Greedy tokens that are compared for each prompt."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrustKeyParams:
    """An entry of `trust.keys`: a public key whose signatures are accepted."""

    key: str
    """Path of a file with the key in PEM, from the folder of this one; or the PEM itself."""
    names: tuple[str, ...] | None = None
    """Bundles that it may sign; all if left out."""
    not_before: str | None = None
    """Date or RFC 3339 time from which its signatures count."""
    not_after: str | None = None
    """Date or RFC 3339 time after which they count no longer."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RegistryParams:
    """`registry`: where bundles are published to and pulled from."""

    url: str | None = None
    """`file:PATH`, `s3://bucket/prefix` or `https://...`."""
    endpoint_url: str | None = None
    """Address of an S3-compatible store other than AWS."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrustParams:
    """`trust`: what is demanded of a registry; see docs/trust.md."""

    keys: tuple[TrustKeyParams, ...] = ()
    """As soon as there is one, what none of them has signed is refused."""
    require_expiry: bool = True
    """Whether channels that never expire are refused."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Params:
    """All of params.yaml."""

    bundle: BundleParams
    base: BaseParams
    adapters: dict[str, AdapterParams]
    backends: BackendParams
    smoke: SmokeParams
    registry: RegistryParams = RegistryParams()
    trust: TrustParams = TrustParams()


def load_params(root: Path) -> Params:
    """Read and check a workspace's params.yaml.

    Raises:
        ConfigError: it is missing, malformed or asks for something impossible;
            every problem is listed with its line.
    """
    path = root / PARAMS_FILE
    if not path.exists():
        raise ConfigError(
            f"{path}: expected a workspace's parameters, found no such file; "
            "go to a workspace or make one with `ptefoundry init DIR`"
        )
    return _parse_params(path, read_text(path))


@functools.lru_cache(maxsize=1)
def _parse_params(path: Path, text: str) -> Params:
    """Of hundreds of adapters it takes seconds; stages are forked where it was done."""
    document = parse_yaml(path, text)
    params = check_types(path, document, Params)
    _check_values(path, document, params)
    return params


def _check_values(path: Path, document: CommentedMap, params: Params) -> None:
    """Rules that a type cannot say; the first broken one is raised."""

    def where(*location: str) -> str:
        return f"{path}:{line_of(document, location)}: {'.'.join(location)}"

    if not _BUNDLE_NAME.fullmatch(params.bundle.name):
        raise ConfigError(
            f"{where('bundle', 'name')}: expected [a-z0-9][a-z0-9_-]*, found {params.bundle.name!r}"
        )
    _check_source(where, params.base, "base")
    for name, adapter in params.adapters.items():
        check_name(name, where=where("adapters", name))
        _check_source(where, adapter, "adapters", name)
    if (xnnpack := params.backends.xnnpack) is not None:
        _check_lengths(where, xnnpack)
        _check_dtype(where, xnnpack)
        _check_embedding(where, xnnpack)
        _check_linears(where, xnnpack)
    elif params.backends.coreml is None:
        raise ConfigError(f"{where('backends')}: expected xnnpack, coreml or both, found neither")
    _check_coreml(where, params)
    _check_smoke(where, params)


def _check_source(where: Any, section: BaseParams | AdapterParams, *location: str) -> None:
    parse_source(section.source, where=where(*location, "source"))
    if section.digest is not None:
        parse_sha256(section.digest, where=where(*location, "digest"))


def _check_lengths(where: Any, xnnpack: XnnpackParams) -> None:
    section = ("backends", "xnnpack")
    if xnnpack.context_length < 2:
        raise ConfigError(
            f"{where(*section, 'context_length')}: expected at least 2 tokens, "
            f"found {xnnpack.context_length}"
        )
    if xnnpack.prefill_length is None:
        return
    if not 2 <= xnnpack.prefill_length <= xnnpack.context_length:
        raise ConfigError(
            f"{where(*section, 'prefill_length')}: expected 2 to the context_length "
            f"of {xnnpack.context_length}, found {xnnpack.prefill_length}"
        )


def _check_dtype(where: Any, xnnpack: XnnpackParams) -> None:
    if xnnpack.dtype == "fp32":
        return
    reason = "no such type is built"
    if xnnpack.dtype == "bf16":
        reason = (
            "XNNPACK turns bf16 weights into fp32 ones that no two programs share, and rounds the "
            "activations (docs/adr/0010)"
        )
    raise ConfigError(
        f"{where('backends', 'xnnpack', 'dtype')}: expected fp32, found {xnnpack.dtype!r}; "
        f"{reason}; for half of the bytes set linear: fp16 and embedding: fp16, for fewer "
        "linear: 8da8w,0 and embedding: 8,0"
    )


def _check_embedding(where: Any, xnnpack: XnnpackParams) -> None:
    try:
        parse_embedding_scheme(xnnpack.embedding)
    except ValueError as error:
        raise ConfigError(
            f"{where('backends', 'xnnpack', 'embedding')}: expected {error}"
        ) from error


def _check_linears(where: Any, xnnpack: XnnpackParams) -> None:
    for field, text in (("linear", xnnpack.linear), ("head", xnnpack.head_form)):
        try:
            parse_linear_scheme(text)
        except ValueError as error:
            also = f"{_AS_LINEAR}, " if field == "head" else ""
            raise ConfigError(
                f"{where('backends', 'xnnpack', field)}: expected {also}{error}"
            ) from error


def _check_coreml(where: Any, params: Params) -> None:
    coreml = params.backends.coreml
    if coreml is None:
        return
    if (problem := coreml.find_problem()) is not None:
        field, expected = problem
        raise ConfigError(f"{where('backends', 'coreml', field)}: expected {expected}")
    # Here, because it needs the name of the base's variant, and that module needs this one.
    from ptefoundry.coreml.methods import list_methods

    list_methods(params.adapters, multifunction=coreml.multifunction, where=where("adapters"))


def _check_smoke(where: Any, params: Params) -> None:
    if not params.smoke.prompts:
        raise ConfigError(f"{where('smoke', 'prompts')}: expected at least one prompt, found none")
    backends = (params.backends.xnnpack, params.backends.coreml)
    room = min(backend.context_length for backend in backends if backend is not None)
    if not 1 <= params.smoke.tokens < room:
        raise ConfigError(
            f"{where('smoke', 'tokens')}: expected 1 to less than the context_length of {room}, "
            f"found {params.smoke.tokens}"
        )
