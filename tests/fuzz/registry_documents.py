"""Fuzzing of everything that is read from a registry, guided by coverage.

The first byte chooses the kind of document, the others are the document. Seeds are valid
documents of each kind. A crash is any exception but `RegistryError` and `TrustError`, or a
document that is another one when it is written and read again; libFuzzer leaves it as `crash-*`.

    pip install atheris==3.0.0
    python tests/fuzz/registry_documents.py CORPUS -max_total_time=600 -max_len=8192

CORPUS is a folder that seeds are written to and findings are kept in.
"""

import json
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["ptefoundry.registry", "ptefoundry.digest", "json"]):
    from support.hostile import make_targets, survives, valid_documents

TARGETS = make_targets()
KINDS = sorted(TARGETS)


def test_one_input(data: bytes) -> None:
    """One run of the fuzzer."""
    if data:
        survives(TARGETS[KINDS[data[0] % len(KINDS)]], data[1:])


def write_seeds(corpus: Path) -> None:
    """Valid documents, and what tells their kinds apart."""
    corpus.mkdir(parents=True, exist_ok=True)
    words = set()
    for at, kind in enumerate(KINDS):
        document = valid_documents()[kind]
        (corpus / f"seed-{at}").write_bytes(bytes([at]) + document)
        words |= {word for word in document.decode().split('"') if 2 < len(word) < 80}
    lines = [f"{json.dumps(word)}\n" for word in sorted(words)]
    corpus.with_suffix(".dict").write_text("".join(lines))


def main() -> None:
    """Run libFuzzer with the arguments given."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        corpus = Path(sys.argv[1])
        write_seeds(corpus)
        sys.argv.append(f"-dict={corpus.with_suffix('.dict')}")
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
