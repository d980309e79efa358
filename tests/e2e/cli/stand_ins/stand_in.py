"""What runs instead of a stage: it makes its outputs, after doing what a test asks for.

A file that STAND_IN names says that by the stage's name, which DVC tells: `print` lines
to stderr, `progress` to report, `exit` with a code, `hang`, and names of
variables of the `environment` that its outputs shall depend on.
"""

import json
import os
import sys
import time
from pathlib import Path

from ptefoundry.peak_memory import report_peak
from ptefoundry.report import progress

#: Pattern of the output -> what other stages depend on in it.
_FOLDERS = {
    "*/base/canonical": ("config.json", "model.safetensors", "tokenizer/chat.json"),
    "*/adapters/canonical/*": ("adapter.json",),
    "*/compile/*": ("base/template.json",),
    "*/foundation/*": ("base.pte", "foundation.ptd"),
    "*/runner": ("bin/ptefoundry-runner",),
    "*/bundle": ("xnnpack/foundation.ptd",),
}
_MANIFEST = {
    "format_version": 1,
    "name": "stand-in",
    "base": {},
    "adapters": {},
    "backends": {},
    "files": [],
    "variants": [],
}


def main() -> None:
    stage, into = os.environ["DVC_STAGE"], Path(sys.argv[sys.argv.index("--into") + 1])
    asked = Path(os.environ["STAND_IN"])
    behaviour = json.loads(asked.read_text()).get(stage, {}) if asked.is_file() else {}
    for line in behaviour.get("print", ()):
        print(line, file=sys.stderr)
    if "progress" in behaviour:
        with progress("weights", behaviour["progress"]) as advance:
            # Progress that follows at once is not told.
            time.sleep(0.5)
            advance(behaviour["progress"] // 2)
            time.sleep(1)
    if "hang" in behaviour:
        _hang(Path(behaviour["hang"]))
    if "exit" in behaviour:
        sys.exit(behaviour["exit"])
    text = " ".join((stage, *(os.environ[name] for name in behaviour.get("environment", ()))))
    if stage == "bundle":
        _write(into / "manifest.json", json.dumps(_MANIFEST))
        text = Path("artifacts/foundation/xnnpack/foundation.ptd").read_text().rstrip()
    if stage.startswith("fetch"):
        _write(into.with_name(f"{into.name}.sha256"), text)
    if into.suffix:
        _write(into, text)
        return
    for name in next((_FOLDERS[one] for one in _FOLDERS if into.match(one)), ("file",)):
        _write(into / name, text)


def _hang(started: Path) -> None:
    """Wait for an interrupt, having told by a file that it may come."""
    started.write_text(str(os.getpid()))
    time.sleep(600)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
    report_peak()
