"""Converting a base checkpoint of any supported format to the canonical form.

The result depends on the source's bytes only. Weights are streamed: memory stays at
about the largest tensor.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptefoundry.base.canonical import write_tensors
from ptefoundry.base.checkpoints import Checkpoint, open_checkpoint
from ptefoundry.base.tokenizer import convert_tokenizer, largest_token_id
from ptefoundry.errors import CheckpointError
from ptefoundry.files import write_json

_ENTRIES = {"config.json", "model.safetensors", "tokenizer"}


def convert_base(source: Path, into: Path) -> None:
    """Write `config.json`, `model.safetensors` and `tokenizer/` of a base.

    Args:
        source: folder with the checkpoint and its tokenizer.
        into: folder to make; an earlier conversion there is replaced once the new one
            is complete, so a failure leaves it as it was.

    Raises:
        CheckpointError: the checkpoint or its tokenizer is malformed or not
            supported, or `into` holds something else.
    """
    with open_checkpoint(source) as checkpoint, _replaced(into) as folder:
        convert_tokenizer(source, folder / "tokenizer")
        _check_vocabulary(checkpoint, folder / "tokenizer")
        write_json(folder / "config.json", checkpoint.config.to_dict())
        specs = [checkpoint.spec(name) for name in checkpoint.names()]
        write_tensors(folder / "model.safetensors", specs, checkpoint.read)


def _check_vocabulary(checkpoint: Checkpoint, tokenizer: Path) -> None:
    largest, rows = largest_token_id(tokenizer), checkpoint.config.vocab_size
    if largest >= rows:
        raise CheckpointError(
            f"{checkpoint.path}: the tokenizer has token {largest}, "
            f"but the embedding table has {rows} rows; they are of different bases"
        )


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` if the block succeeds."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not found <= _ENTRIES or (folder.exists() and not folder.is_dir()):
        raise CheckpointError(
            f"{folder}: expected no folder or an earlier conversion, "
            f"found {', '.join(sorted(found - _ENTRIES)) or 'a file'}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"
    ) as temporary:
        made = Path(temporary, "new")
        made.mkdir()
        yield made
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        made.rename(folder)
