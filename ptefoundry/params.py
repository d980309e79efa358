"""params.yaml: what to build, as typed values.

One dataclass per section; each default is declared there and nowhere else.
Unknown keys, wrong types and impossible combinations are refused with the file,
the line and what to write instead.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase, CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from ptefoundry.adapter.names import check_name
from ptefoundry.base.sources import parse_source
from ptefoundry.digest import parse_sha256
from ptefoundry.errors import ConfigError

PARAMS_FILE = "params.yaml"
_BUNDLE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_EMBEDDING = re.compile(r"none|[48],(0|[1-9][0-9]*)")
_AS_LINEAR = "same"
_LINEAR = re.compile(r"none|8da4w,([1-9][0-9]*)|8da8w,0")
GROUP_MULTIPLE = 32
"""XNNPACK takes 4-bit linears whose groups are a multiple of this."""
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BundleParams:
    """`bundle`: how the result is called."""

    name: str
    """Name of the bundle in registries, `[a-z0-9][a-z0-9_-]*`."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BaseParams:
    """`base`: the pretrained model."""

    name: str
    """What adapters call it in `base_model_name_or_path`, usually `org/model`."""
    source: str
    """Where it comes from; see `ptefoundry.base.sources`."""
    digest: str | None = None
    """sha256 of what is fetched; pinned by `ptefoundry init`."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AdapterParams:
    """`adapters.<name>`: one PEFT LoRA adapter."""

    source: str
    digest: str | None = None
    """sha256 of what is fetched; pinned by `ptefoundry adapter add`."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EmbeddingScheme:
    """Symmetric integer quantization of the embedding table, written `<bits>,<group>`."""

    bits: int
    """4 or 8."""
    group: int
    """Values of a row that share a scale; 0: the whole row."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LinearScheme:
    """Symmetric integer weights, 8-bit activations per token; written `8da<bits>w,<group>`."""

    bits: int
    """4 or 8."""
    group: int
    """Values of a row that share a scale; 0, which 8 bits have: the whole row."""

    def __str__(self) -> str:
        return f"8da{self.bits}w,{self.group}"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Schemes:
    """What of a model is quantized, and how; None: fp32."""

    embedding: EmbeddingScheme | None = None
    linear: LinearScheme | None = None
    """Of all linears of the layers; adapters stay fp32."""
    head: LinearScheme | None = None
    """Of the output head, whether or not it is tied to the embedding table."""

    @property
    def any(self) -> bool:
        """Whether the model is another one than the original."""
        return self != Schemes()


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class XnnpackParams:
    """`backends.xnnpack`: options of the CPU programs."""

    context_length: int = 1024
    """Tokens of prompt and answer together that the caches hold."""
    prefill_length: int | None = None
    """Most tokens that one call reads; None: the context, at most 512."""
    dtype: str = "fp32"
    """Type of activations, adapters and what is not quantized; only fp32 is built."""
    embedding: str = "none"
    """Quantization of the embedding table: none, or `<bits>,<group>` such as `8,0` and `4,32`."""
    linear: str = "none"
    """Quantization of the layers' linears: none, `8da4w,<group>` (a multiple of 32), `8da8w,0`."""
    head: str = _AS_LINEAR
    """Quantization of the output head: same (as `linear`), or one of its values."""
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
        head = self.linear if self.head == _AS_LINEAR else self.head
        return Schemes(
            embedding=_embedding_scheme(self.embedding),
            linear=_linear_scheme(self.linear),
            head=_linear_scheme(head),
        )


def _embedding_scheme(text: str) -> EmbeddingScheme | None:
    if text == "none":
        return None
    bits, group = text.split(",")
    return EmbeddingScheme(bits=int(bits), group=int(group))


def _linear_scheme(text: str) -> LinearScheme | None:
    if text == "none":
        return None
    bits, group = text.removeprefix("8da").split("w,")
    return LinearScheme(bits=int(bits), group=int(group))


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BackendParams:
    """`backends`: one section for each kind of program to build."""

    xnnpack: XnnpackParams


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SmokeParams:
    """`smoke`: what every program must answer as its original does."""

    prompts: tuple[str, ...]
    """User messages, put through the chat template where there is one."""
    tokens: int = 32
    """Greedy tokens that are compared for each prompt."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Params:
    """All of params.yaml."""

    bundle: BundleParams
    base: BaseParams
    adapters: dict[str, AdapterParams]
    backends: BackendParams
    smoke: SmokeParams


def load_params(root: Path) -> Params:
    """Read and check a workspace's params.yaml.

    Raises:
        ConfigError: it is missing, malformed or asks for something impossible;
            every problem is listed with its line.
    """
    path = root / PARAMS_FILE
    document = read_yaml(path)
    try:
        # As JSON, because strict validation of Python values takes no mapping for a section.
        params = TypeAdapter(Params).validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        problems = [_problem(path, document, item) for item in error.errors()]
        raise ConfigError("\n".join(problems)) from error
    _check_values(path, document, params)
    return params


def read_yaml(path: Path) -> CommentedMap:
    """Read a YAML mapping, keeping comments and line numbers.

    Raises:
        ConfigError: it is missing or not a YAML mapping.
    """
    try:
        document = YAML().load(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: expected a workspace's parameters, found no such file; "
            "go to a workspace or make one with `ptefoundry init DIR`"
        ) from error
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: expected YAML, found {error.problem}") from error
    if not isinstance(document, CommentedMap):
        raise ConfigError(f"{path}: expected a mapping with sections, found {type(document)}")
    return document


def _check_values(path: Path, document: CommentedMap, params: Params) -> None:
    """Rules that a type cannot say; the first broken one is raised."""

    def where(*location: str) -> str:
        return f"{path}:{_line(document, location)}: {'.'.join(location)}"

    if not _BUNDLE_NAME.fullmatch(params.bundle.name):
        raise ConfigError(
            f"{where('bundle', 'name')}: expected [a-z0-9][a-z0-9_-]*, found {params.bundle.name!r}"
        )
    _check_source(where, params.base, "base")
    for name, adapter in params.adapters.items():
        check_name(name, where=where("adapters", name))
        _check_source(where, adapter, "adapters", name)
    _check_lengths(where, params.backends.xnnpack)
    _check_dtype(where, params.backends.xnnpack)
    _check_embedding(where, params.backends.xnnpack)
    _check_linears(where, params.backends.xnnpack)
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
            "the runner's attention takes fp32 only, and programs with bf16 linears are not built "
            "yet (docs/adr/0010)"
        )
    raise ConfigError(
        f"{where('backends', 'xnnpack', 'dtype')}: expected fp32, found {xnnpack.dtype!r}; "
        f"{reason}; for smaller weights set linear: 8da8w,0 or 8da4w,32"
    )


def _check_embedding(where: Any, xnnpack: XnnpackParams) -> None:
    if not _EMBEDDING.fullmatch(xnnpack.embedding):
        raise ConfigError(
            f"{where('backends', 'xnnpack', 'embedding')}: expected none, or <bits>,<group> with "
            "4 or 8 bits and the values that share a scale (0: the whole row), for instance "
            f"8,0 or 4,32; found {xnnpack.embedding!r}"
        )


def _check_linears(where: Any, xnnpack: XnnpackParams) -> None:
    for field, others in (("linear", "none"), ("head", f"{_AS_LINEAR}, none")):
        text = getattr(xnnpack, field)
        if field == "head" and text == _AS_LINEAR:
            continue
        match = _LINEAR.fullmatch(text)
        if match is None or int(match[1] or 0) % GROUP_MULTIPLE:
            raise ConfigError(
                f"{where('backends', 'xnnpack', field)}: expected {others}, 8da8w,0, or "
                f"8da4w,<group> with the values that share a scale, a multiple of "
                f"{GROUP_MULTIPLE}, for instance 8da4w,32; found {text!r}"
            )


def _check_smoke(where: Any, params: Params) -> None:
    if not params.smoke.prompts:
        raise ConfigError(f"{where('smoke', 'prompts')}: expected at least one prompt, found none")
    room = params.backends.xnnpack.context_length
    if not 1 <= params.smoke.tokens < room:
        raise ConfigError(
            f"{where('smoke', 'tokens')}: expected 1 to less than the context_length of {room}, "
            f"found {params.smoke.tokens}"
        )


def _problem(path: Path, document: CommentedMap, item: Any) -> str:
    """One of pydantic's errors as file, line, field and advice."""
    location = tuple(str(part) for part in item["loc"])
    field = ".".join(location) or "(top level)"
    prefix = f"{path}:{_line(document, location)}: {field}"
    if item["type"] == "unexpected_keyword_argument":
        return f"{prefix}: expected only known keys, found {location[-1]!r}; remove or correct it"
    if item["type"] == "missing":
        return f"{prefix}: expected this key, found none; add it"
    return f"{prefix}: {item['msg']}, found {item['input']!r}"


def _line(document: CommentedBase, location: tuple[str, ...]) -> int:
    """Line of the deepest existing part of a location, counted from 1."""
    line = 0
    node: Any = document
    for part in location:
        if not isinstance(node, CommentedMap) or part not in node:
            break
        line = node.lc.key(part)[0]
        node = node[part]
    return line + 1
