"""Runs one fetch in a process of its own, with what can only be set before imports.

Usage: python fetch_program.py '{"spec": ..., "into": ..., "cache": ..., "adapter": false}'
Prints {"digest", "resolved", "files"} or {"error", "text"} as JSON.
"""

import json
import sys
from pathlib import Path

from ptefoundry.base.sources import ADAPTER_FILES, BASE_FILES, fetch
from ptefoundry.errors import FoundryError


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        fetched = fetch(
            request["spec"],
            Path(request["into"]),
            digest=request.get("digest"),
            wanted=ADAPTER_FILES if request.get("adapter") else BASE_FILES,
            root=Path(),
            cache=Path(request["cache"]),
            where="params.yaml: base.source",
        )
    except FoundryError as error:
        result: dict[str, object] = {"error": type(error).__name__, "text": str(error)}
    else:
        result = {
            "digest": fetched.digest,
            "resolved": fetched.resolved,
            "files": dict(fetched.files),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
