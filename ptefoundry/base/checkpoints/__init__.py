"""Reading base checkpoints of any supported format in canonical form.

    with open_checkpoint(folder) as checkpoint:
        for name in checkpoint.names():
            tensor = checkpoint.read(name)

Formats: Hugging Face safetensors (one file or shards with an index), Meta's
`consolidated.*.pth` with `params.json`, and GGUF. Architectures: Llama, Qwen2 and
Qwen3. Whatever a checkpoint has beyond them is refused by name.
"""

from pathlib import Path

from ptefoundry.base.checkpoints.checkpoint import Checkpoint
from ptefoundry.base.checkpoints.gguf import find_gguf, open_gguf
from ptefoundry.base.checkpoints.huggingface import open_huggingface
from ptefoundry.base.checkpoints.meta import open_meta
from ptefoundry.errors import CheckpointError

__all__ = ["Checkpoint", "open_checkpoint"]

_FORMATS = {
    "Hugging Face (config.json + *.safetensors)": open_huggingface,
    "Meta (params.json + consolidated.*.pth)": open_meta,
    "GGUF (one *.gguf)": open_gguf,
}


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open the checkpoint in `folder`, whichever format it has.

    Only configuration and headers are read; tensors are read when asked for.

    Raises:
        CheckpointError: there is no checkpoint or more than one, or it is malformed
            or of an architecture that is not supported.
    """
    found = [name for name, present in _present(folder).items() if present]
    if len(found) != 1:
        raise CheckpointError(
            f"{folder}: expected one checkpoint, found {', '.join(found) or 'none'}; "
            f"supported formats: {', '.join(_FORMATS)}"
        )
    return _FORMATS[found[0]](folder)


def _present(folder: Path) -> dict[str, bool]:
    has_weights = any(folder.glob("*.safetensors")) and (folder / "config.json").is_file()
    has_shards = any(folder.glob("consolidated.*.pth"))
    return dict(zip(_FORMATS, (has_weights, has_shards, bool(find_gguf(folder))), strict=True))
