"""Prefill and decode with a static program, by what its metadata says.

The driver holds the caches, fills in masks and rotary angles and puts new keys and values
where they belong. What computes a call is given to it: a method of ExecuTorch's runtime,
whichever backend it was lowered to, or the eager model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptefoundry.coreml.inputs import NO_INPUT, Layout
from ptefoundry.coreml.methods import (
    ADAPTERS,
    CACHE_SHAPE,
    CONTEXT,
    DTYPE,
    FREQUENCIES,
    ROLES,
    role_constant,
)
from ptefoundry.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    import torch

Constants = Mapping[str, Sequence[Any]]
"""Constant method -> what it returns, as `ptefoundry.lowering.pte.Program.constants`."""
Call = Callable[[str, "list[torch.Tensor]"], "Sequence[torch.Tensor]"]
"""Computes a method, by name, from its inputs in order."""


@dataclass(frozen=True, kw_only=True)
class _MethodSpec:
    """One method, how many tokens it reads, and its numbers of inputs and outputs."""

    name: str
    length: int
    layout: Layout


class StaticDriver:
    """A conversation with one adapter of a program."""

    def __init__(self, constants: Constants, call: Call, *, adapter: str) -> None:
        """Prepare empty caches.

        Args:
            constants: the program's metadata.
            call: what computes its methods.
            adapter: name of the adapter, or `base`.

        Raises:
            ConfigError: the program has no such adapter.
            ArtifactError: its metadata is not that of a static program.
        """
        import torch

        try:
            self._methods = _find_methods(constants, adapter)
            self.context = int(constants[CONTEXT][0])
            shape = list(constants[CACHE_SHAPE])
            dtype = {"fp16": torch.float16, "fp32": torch.float32}[constants[DTYPE][0]]
            frequencies = torch.tensor(constants[FREQUENCIES])
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"expected the metadata of a static program ({error!r}); build it again"
            ) from error
        angles = torch.arange(self.context).view(-1, 1) * frequencies
        self._cosines, self._sines = torch.cos(angles).to(dtype), torch.sin(angles).to(dtype)
        # Of each layer keys and values, [1, kv_heads, cache, head_dim].
        layers = range(len(self._methods[0].layout.caches))
        self._caches = [[torch.zeros(shape, dtype=dtype) for _ in "kv"] for _ in layers]
        self._cache_length, self._dtype, self._call = shape[2], dtype, call
        self.position = 0

    def read(self, tokens: Sequence[int]) -> "torch.Tensor":
        """Read tokens, in as many calls as it takes.

        Returns:
            fp32 logits [vocab] after the last of them.

        Raises:
            ConfigError: there is no room for them in the context.
        """
        if not tokens:
            raise ConfigError("expected at least one token, found none")
        logits, at = None, 0
        while at < len(tokens):
            method = self._choose(len(tokens) - at)
            logits = self._run(method, tokens[at : at + method.length])
            at += method.length
        assert logits is not None
        return logits

    def answer(self, tokens: Sequence[int], count: int, eos_ids: Sequence[int] = ()) -> list[int]:
        """Read a prompt and say up to `count` most likely tokens, the last one in `eos_ids`."""
        generated, pending = list[int](), list(tokens)
        while len(generated) < count and not (generated and generated[-1] in eos_ids):
            pending = [int(self.read(pending).argmax())]
            generated += pending
        return generated

    def _choose(self, count: int) -> _MethodSpec:
        """The method with the fewest tokens that reads `count`, else the one with the most."""
        by_length = sorted(self._methods, key=lambda method: method.length)
        return next((one for one in by_length if one.length >= count), by_length[-1])

    def _run(self, method: _MethodSpec, tokens: Sequence[int]) -> "torch.Tensor":
        self._check_room(len(tokens))
        outputs = self._call(method.name, self._inputs(method, tokens))
        self._keep(method, outputs, len(tokens))
        self.position += len(tokens)
        logits = (
            outputs[0] if method.layout.last_token != NO_INPUT else outputs[0][:, len(tokens) - 1]
        )
        return logits.reshape(-1).float()

    def _check_room(self, count: int) -> None:
        # A call sees its own tokens beside the caches, which only later calls need.
        if self.position > self._cache_length or self.position + count > self.context:
            raise ConfigError(
                f"expected at most {self.context} tokens of prompt and answer, and caches for "
                f"{self._cache_length}; found {count} more after {self.position}"
            )

    def _inputs(self, method: _MethodSpec, tokens: Sequence[int]) -> "list[torch.Tensor]":
        import torch

        length, count, layout = method.length, len(tokens), method.layout
        # Positions of padding do not matter: nothing attends to it.
        positions = (self.position + torch.arange(length)).clamp(max=self.context - 1)
        named = {
            layout.tokens: torch.tensor([[*tokens, *[0] * (length - count)]], dtype=torch.int32),
            layout.mask: self._mask(length),
            layout.cosines: self._cosines[positions],
            layout.sines: self._sines[positions],
            layout.last_token: torch.tensor([count - 1]),
        }
        for (keys, _, values, _), (cached_keys, cached_values) in zip(
            layout.caches, self._caches, strict=True
        ):
            named |= {keys: cached_keys, values: cached_values}
        named.pop(NO_INPUT, None)
        return [named[number] for number in range(len(named))]

    def _mask(self, length: int) -> "torch.Tensor":
        """What is added to the scores: 0 for the past and for itself, else minus infinity."""
        import torch

        cached = torch.full((length, self._cache_length), -torch.inf)
        cached[:, : self.position] = 0
        own = torch.full((length, length), -torch.inf).triu(1)
        return torch.cat((cached, own), dim=1).unsqueeze(0).to(self._dtype)

    def _keep(self, method: _MethodSpec, outputs: "Sequence[torch.Tensor]", count: int) -> None:
        """Put new keys and values into the caches, as far as there is room."""
        end = min(self.position + count, self._cache_length)
        count = end - self.position
        for (_, keys, _, values), cached in zip(method.layout.caches, self._caches, strict=True):
            for number, cache in zip((keys, values), cached, strict=True):
                cache[:, :, self.position : end] = outputs[number][:, :, :count]


def _find_methods(constants: Constants, adapter: str) -> tuple[_MethodSpec, ...]:
    adapters = list(constants[ADAPTERS])
    if adapter not in adapters:
        raise ConfigError(f"--adapter: expected one of {', '.join(adapters)}, found {adapter!r}")
    specs = []
    for role in ROLES:
        if role_constant(role, "methods") not in constants:
            continue
        tokens, mask, cosines, sines, last_token = constants[role_constant(role, "inputs")]
        numbers = iter(constants[role_constant(role, "caches")])
        specs.append(
            _MethodSpec(
                name=constants[role_constant(role, "methods")][adapters.index(adapter)],
                length=int(constants[role_constant(role, "input_len")][0]),
                layout=Layout(
                    tokens=tokens,
                    mask=mask,
                    cosines=cosines,
                    sines=sines,
                    last_token=last_token,
                    caches=tuple(zip(numbers, numbers, numbers, numbers, strict=True)),
                ),
            )
        )
    return tuple(specs)
