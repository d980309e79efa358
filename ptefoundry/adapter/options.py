"""The options of a LoRA adapter: which modules it adapts, with which rank and scale.

Follows peft 0.21.2: `LoraConfig.__post_init__`, `get_pattern_key` and
`LoraLayer.update_layer`. Values of wrong types are problems, never guessed at.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ptefoundry.adapter.fields import CONFIG_FILE, check_field, check_fields
from ptefoundry.adapter.problems import Problem, show

ALL_LINEAR = "all-linear"


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """The fields of adapter_config.json that decide what the adapter computes."""

    rank: int
    """Of modules that `rank_pattern` does not match."""
    alpha: float
    """Of modules that `alpha_pattern` does not match."""
    use_rslora: bool
    target_modules: tuple[str, ...] | str
    """Names or their last parts; a text is a regular expression or `all-linear`."""
    exclude_modules: tuple[str, ...] | str
    layers_to_transform: frozenset[int] | None
    """Numbers of the only layers that are adapted; None for all."""
    layers_pattern: tuple[str, ...]
    rank_pattern: dict[str, int]
    """Ranks by name or regular expression; the first that matches counts."""
    alpha_pattern: dict[str, float]
    base_model: str | None
    peft_version: str | None

    def rank_of(self, module: str) -> int:
        """Rank of a module, by its name in transformers' model."""
        key = first_match(self.rank_pattern, module)
        return self.rank if key is None else self.rank_pattern[key]

    def scale_of(self, module: str) -> float:
        """Factor of B@A: alpha/r (arXiv:2106.09685) or alpha/sqrt(r) (rsLoRA, arXiv:2312.03732)."""
        key = first_match(self.alpha_pattern, module)
        alpha = self.alpha if key is None else self.alpha_pattern[key]
        rank = self.rank_of(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def first_match(patterns: Iterable[str], module: str) -> str | None:
    """The first pattern that matches a module's name or its last parts, as PEFT matches."""
    return next((key for key in patterns if re.match(_ending_in(key), module)), None)


def parse_options(fields: dict[str, Any]) -> tuple[LoraOptions | None, list[Problem]]:
    """Validate the fields of adapter_config.json.

    Returns:
        The options, or None if a field they need is not usable, and all problems.
    """
    if wrong_method := check_field("peft_type", fields.get("peft_type", "LORA")):
        return None, wrong_method  # all other fields are those of another method
    reader = _Reader(fields)
    options = LoraOptions(
        rank=reader.get("r", _is_rank, "a positive integer", 1),
        alpha=reader.get("lora_alpha", _is_number, "a finite number", 1),
        use_rslora=reader.get("use_rslora", _is_bool, "true or false", False),
        target_modules=reader.names("target_modules", required=True),
        exclude_modules=reader.names("exclude_modules"),
        layers_to_transform=reader.layers(),
        layers_pattern=reader.layers_pattern(),
        rank_pattern=reader.pattern("rank_pattern", _is_rank, "positive integers"),
        alpha_pattern=reader.pattern("alpha_pattern", _is_number, "finite numbers"),
        base_model=reader.get("base_model_name_or_path", _is_name_or_none, "a name", None),
        peft_version=reader.get("peft_version", _is_name_or_none, "a name", None),
    )
    reader.check_layers()
    return None if reader.problems else options, check_fields(fields) + reader.problems


class _Reader:
    """Reads one field after the other and notes what is wrong with them."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.problems: list[Problem] = []

    def get(
        self, name: str, is_valid: Callable[[object], bool], supported: str, default: Any
    ) -> Any:
        value = self.fields.get(name, default)
        if is_valid(value):
            return value
        self._refuse(name, value, supported)
        return default

    def names(self, name: str, *, required: bool = False) -> tuple[str, ...] | str:
        """A list of module names, or a regular expression."""
        value = self.fields.get(name)
        if isinstance(value, str) and value:
            self._check_regex(name, value, value)
            return value
        if isinstance(value, list) and all(_is_text(item) for item in value) and value:
            return tuple(value)
        if required and name not in self.fields:
            return ()  # `check_fields` has told already
        if required or value not in (None, [], ""):
            self._refuse(name, value, "a list of module names, a regular expression or all-linear")
        return ()

    def layers(self) -> frozenset[int] | None:
        value = self.fields.get("layers_to_transform")
        if value is None or value == []:
            return None
        numbers = value if isinstance(value, list) else [value]
        if all(_is_integer(number) for number in numbers):
            return frozenset(numbers)
        self._refuse("layers_to_transform", value, "a layer's number or a list of them")
        return None

    def layers_pattern(self) -> tuple[str, ...]:
        value = self.fields.get("layers_pattern")
        if value in (None, ""):
            return ()
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list) or not all(_is_text(item) for item in patterns):
            self._refuse("layers_pattern", value, "a text or a list of texts")
            return ()
        for pattern in patterns:
            self._check_regex("layers_pattern", pattern, layer_number(pattern))
        return tuple(patterns)

    def pattern(
        self, name: str, is_valid: Callable[[object], bool], supported: str
    ) -> dict[str, Any]:
        value = self.fields.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._refuse(name, value, f"an object of patterns and {supported}")
            return {}
        for key, item in value.items():
            self._check_regex(f"{name}[{show(key)}]", key, _ending_in(key))
            if not is_valid(item):
                self._refuse(f"{name}[{show(key)}]", item, supported)
        return value

    def check_layers(self) -> None:
        """Refuse what PEFT refuses, and the one combination whose meaning it changes."""
        names = ("target_modules", "layers_to_transform", "layers_pattern")
        targets, layers, pattern = (self.fields.get(name) for name in names)
        if isinstance(targets, str) and (layers is not None or pattern is not None):
            self._refuse(
                "target_modules", targets, "a list beside layers_to_transform or layers_pattern"
            )
        if layers is None and pattern:
            self._refuse("layers_to_transform", layers, "layer numbers beside layers_pattern")
        # A full name is matched before layers_to_transform is looked at, except when PEFT first
        # condenses lists of 20 and more names.
        if isinstance(targets, list) and layers not in (None, []):
            full = [name for name in targets if _is_text(name) and name.startswith("model.")]
            if full:
                self._refuse("target_modules", full, "last parts of names with layers_to_transform")

    def _check_regex(self, field: str, text: str, pattern: str) -> None:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            self._refuse(field, text, f"a regular expression ({error})")

    def _refuse(self, field: str, value: object, supported: str) -> None:
        self.problems.append(
            Problem(file=CONFIG_FILE, field=field, found=show(value), supported=supported)
        )


def layer_number(pattern: str) -> str:
    """Regular expression that finds the number of the layer after `pattern`."""
    return rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\."


def _ending_in(key: str) -> str:
    return rf"(.*\.)?({key})$"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_name_or_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.isprintable())


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31


def _is_number(value: object) -> bool:
    # Compared as it is: a huge integer has no float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
