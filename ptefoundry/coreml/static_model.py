"""ExecuTorch's static-attention transformer, filled from a canonical base.

Static attention has fixed lengths, as the Neural Engine needs them: caches are inputs and
outputs of each call, positions come as rotary angles and a mask
(`ptefoundry.coreml.inputs`). Canonical rows are in interleaved rotary order, which is what
it computes without `use_hf_rope`.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.base.canonical import TensorFile
from ptefoundry.base.config import ModelConfig, load_config
from ptefoundry.base.layout import tensor_shapes
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_SUPPORTED = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_RENAMED = (
    (re.compile(r"\.attention\.w([qkv])(?=\.|$)"), r".attention.w\1s.0"),
    (re.compile(r"\.attention\.([qk])_norm_fn(?=\.|$)"), r".attention.\1_norm"),
)


def load_static_model(base: Path, params: CoremlParams) -> "torch.nn.Module":
    """The static model of a canonical base, with neither splits nor quantization.

    Args:
        base: folder that `convert_base` wrote.
        params: lengths, dtype, and which logits are asked for.

    Raises:
        CheckpointError: static attention does not support the base, its tensors are not
            those of its configuration, or they are beyond the dtype.
    """
    import torch

    config = load_config(base / "config.json")
    path = base / "model.safetensors"
    _check_supported(base, config)
    with torch.device("meta"):
        model = _construct(config, params)
    model.load_state_dict(_read_tensors(path, config, torch_dtype(params)), assign=True)
    if config.tied_embeddings:
        # One parameter, so that nothing sees two tensors.
        model.output.weight = model.tok_embeddings.weight
    return model.eval().requires_grad_(requires_grad=False)


def torch_dtype(params: CoremlParams) -> "torch.dtype":
    """The dtype of activations and caches."""
    import torch

    return {"fp16": torch.float16, "fp32": torch.float32}[params.dtype]


def static_path(path: str) -> str:
    """Where a canonical module or tensor is in the static model."""
    for pattern, replacement in _RENAMED:
        path = pattern.sub(replacement, path)
    return path


def _check_supported(base: Path, config: ModelConfig) -> None:
    if config.architecture not in _SUPPORTED:
        raise CheckpointError(
            f"{base / 'config.json'}: architecture: found {config.architecture}, which "
            f"ExecuTorch's static attention does not compute; supported for coreml: "
            f"{', '.join(_SUPPORTED)}; remove backends.coreml from params.yaml"
        )


def _construct(config: ModelConfig, params: CoremlParams) -> Any:
    from executorch.examples.models.llama.llama_transformer import construct_transformer
    from executorch.examples.models.llama.model_args import ModelArgs
    from executorch.examples.models.llama.static_attention import StaticAttentionMHA

    from ptefoundry.coreml.norm import scale_norms

    arguments = ModelArgs(
        dim=config.dim,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        hidden_dim=config.hidden_dim,
        vocab_size=config.vocab_size,
        norm_eps=config.norm_eps,
        # Tables of angles are inputs; the model's own, of the shortest length, are not used.
        max_context_len=params.input_length,
        attention_qkv_bias=config.qkv_bias,
        use_qk_norm=config.qk_norm,
        qk_norm_before_rope=config.qk_norm,
        generate_full_logits=not params.multifunction,
        attention_type="static_mha",
        # Core ML's own attention has wrong numbers on iOS 26, as ExecuTorch's source says.
        attention_kwargs={"decompose_sdpa_in_mha": True},
    )
    model = construct_transformer(arguments)
    assert all(isinstance(layer.attention, StaticAttentionMHA) for layer in model.layers)
    scale_norms(model)
    return model


def _read_tensors(
    path: Path, config: ModelConfig, dtype: "torch.dtype"
) -> dict[str, "torch.Tensor"]:
    """All parameters by their names in the static model, read and converted one by one."""
    file, expected = TensorFile(path), tensor_shapes(config)
    found = {name: spec.shape for name, spec in file.specs.items()}
    if found != expected:
        other = sorted(
            name for name in {*found, *expected} if found.get(name) != expected.get(name)
        )
        raise CheckpointError(
            f"{path}: tensors do not match config.json beside it: {', '.join(other[:3])}; "
            "convert the base again"
        )
    tensors = {}
    for name in expected:
        tensor = file.read(name).to(dtype)
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: {name}: weights are beyond fp16; set backends.coreml.dtype: fp32"
            )
        tensors[static_path(name)] = tensor
    if config.tied_embeddings:
        tensors["output.weight"] = tensors["tok_embeddings.weight"]
    return tensors
