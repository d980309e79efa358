"""Which stages are forked, and what is imported for them before."""

_STAGES = "ptefoundry.stages."
_LIGHT = ("ptefoundry.params", "ptefoundry.stages.entry", "jinja2")
_TENSORS = (*_LIGHT, "torch", "safetensors.torch")
_PEFT = (*_TENSORS, "transformers.models.auto.modeling_auto", "peft")

IMPORTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            *(f"{_STAGES}{name}" for name in ("fetch_base", "fetch_adapter", "signatures")),
            *(f"{_STAGES}{name}" for name in ("foundation", "link", "smoke", "bundle")),
        ),
        _LIGHT,
    ),
    f"{_STAGES}convert_base": _TENSORS,
    f"{_STAGES}convert_adapter": _TENSORS,
    f"{_STAGES}reference": _PEFT,
    f"{_STAGES}quantized_reference": (*_TENSORS, "executorch.exir", "torchao"),
}
"""Module of a stage -> modules that take it long to import, in the order to import them. Not
compiling, which happens once in a build and imports nothing where templates are there."""
NEXT_IMPORTS: dict[str, tuple[str, ...]] = {
    f"{_STAGES}convert_base": _PEFT,
    f"{_STAGES}convert_adapter": _PEFT,
}
"""The same of the stages that will follow: what was converted needs a reference."""
