"""More adapters than the demo has: its own again, with other numbers."""

from collections.abc import Sequence
from pathlib import Path

from ptefoundry.adapter.canonical import TENSORS_FILE, load_adapter, save_adapter


def write_adapters(sources: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """Write so many canonical adapters, no matrix of which equals one of another.

    The sources are taken in turn; each time that one comes again, all of its numbers are
    another hundredth larger.
    """
    from safetensors.torch import load_file, save

    written = []
    for number in range(count):
        source, into = sources[number % len(sources)], folder / f"adapter{number:03d}"
        into.mkdir(parents=True)
        factor = 1 + 0.01 * (number // len(sources))
        tensors = {key: one * factor for key, one in load_file(source / TENSORS_FILE).items()}
        canonical = load_adapter(source)
        save_adapter(into, save(tensors), modules=canonical.modules, source=canonical.source)
        written.append(into)
    return written
