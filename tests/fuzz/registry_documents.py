"""Fuzzing of everything that is read from a registry, guided by coverage.

The first byte chooses the kind of document, the others are the document. Seeds are valid
documents of each kind. A crash is any exception but `RegistryError` and `TrustError`, or a
document that is another one when it is written and read again; libFuzzer leaves it as `crash-*`.

    make fuzz                                                # half a minute, always the same
    pip install --target FUZZ -r tests/fuzz/requirements.txt # then, with PYTHONPATH=FUZZ:
    python tests/fuzz/registry_documents.py CORPUS -max_total_time=600 -max_len=8192
    python tests/fuzz/registry_documents.py crash-..         # what was the matter with it?

CORPUS is a folder that seeds are written to and findings are kept in. Crashes are read again
without atheris, so that needs nothing but the environment of the tests.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[up]) for up in (2, 1)]


def main() -> None:
    """Read the crashes that are named again, or run libFuzzer with the arguments given."""
    crashes = [Path(word) for word in sys.argv[1:] if Path(word).is_file()]
    if crashes:
        _replay(crashes)
    else:
        _fuzz()


def _replay(crashes: list[Path]) -> None:
    from support.hostile import make_targets, survives

    targets = make_targets()
    for path in crashes:
        kind, document = _choose(targets, path.read_bytes())
        print(f"{path}: {kind}: {document!r:.200}", flush=True)
        print("taken" if survives(targets[kind], document) else "refused, as it should be")


def _fuzz() -> None:
    import atheris

    with atheris.instrument_imports(include=["ptefoundry.registry", "ptefoundry.digest", "json"]):
        from support.hostile import make_targets, survives

    targets = make_targets()

    def run_once(data: bytes) -> None:
        if data:
            kind, document = _choose(targets, data)
            survives(targets[kind], document)

    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        corpus = Path(sys.argv[1])
        _write_seeds(corpus, sorted(targets))
        sys.argv.append(f"-dict={corpus.with_suffix('.dict')}")
    atheris.Setup(sys.argv, run_once)
    atheris.Fuzz()


def _choose(targets: dict[str, Callable[[bytes], Any]], data: bytes) -> tuple[str, bytes]:
    kinds = sorted(targets)
    return kinds[data[0] % len(kinds)], data[1:]


def _write_seeds(corpus: Path, kinds: list[str]) -> None:
    """Valid documents, and what tells their kinds apart."""
    from support.hostile import valid_documents

    corpus.mkdir(parents=True, exist_ok=True)
    documents, words = valid_documents(), set()
    for at, kind in enumerate(kinds):
        document = documents[kind]
        (corpus / f"seed-{at}").write_bytes(bytes([at]) + document)
        words |= {word for word in document.decode().split('"') if 2 < len(word) < 80}
    lines = [f"{json.dumps(word)}\n" for word in sorted(words)]
    corpus.with_suffix(".dict").write_text("".join(lines))


if __name__ == "__main__":
    main()
