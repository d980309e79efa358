"""Measures the build of a second clone against the first, and the disk that a bundle takes.

    python tests/benchmarks/shared_cache.py [--workspace DIR]

The first clone builds from nothing and gives the result to a shared cache on SeaweedFS, on the
same machine; the second takes it from there. Both have no caches of their own, neither DVC's nor
ptefoundry's. Without a workspace it is a tiny one with two adapters, whose templates and runner
are compiled all the same. What is committed of a workspace is measured.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from clean_clone import CleanClone, clone, origin_in
from measure import MIB, begin, show, table

from ptefoundry import s3
from support.disk_use import disk_use
from support.seaweedfs import serve_s3

BUCKET = "benchmark"
REMOTE = f"s3://{BUCKET}/cache"
CACHE_TYPES = ("hardlink", "symlink", "copy", "reflink")


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="a git repository with a params.yaml")
    arguments = parser.parse_args()
    begin()
    with (
        tempfile.TemporaryDirectory() as name,
        serve_s3(Path(name) / "seaweedfs") as server,
    ):
        folder = Path(name)
        (folder / "aws-config").touch()
        # DVC reads no settings from what is no file.
        os.environ.update(server.environment() | {"AWS_CONFIG_FILE": str(folder / "aws-config")})
        s3.connect().create_bucket(Bucket=BUCKET)
        origin = origin_in(folder, arguments.workspace)
        first = clone(origin, folder / "first", remote=REMOTE)
        show(_builds(first, clone(origin, folder / "second", remote=REMOTE)))
        show(_parts(first))
        show(_cache_types(origin, folder))


def _builds(first: CleanClone, second: CleanClone) -> str:
    whole = first.seconds("build")
    commands = (
        ("first clone: `build --push` of what it has built", first, "--push"),
        ("second clone: `build --pull`", second, "--pull"),
        ("second clone: `build --pull` once more, nothing to do", second, "--pull"),
    )
    rows = [["first clone: `build` from nothing", f"{whole:.1f}", "1"]]
    for title, where, option in commands:
        seconds = where.seconds("build", option)
        rows.append([title, f"{seconds:.1f}", f"{seconds / whole:.3f}"])
    return table("A second clone", ["what", "seconds", "of the first build"], rows)


def _parts(built: CleanClone) -> str:
    """What a bundle takes in each folder, and in all of them together."""
    rows = []
    bundle = built.root / "artifacts" / "bundle"
    folders = {"the bundle alone": (bundle,), **{name: (at,) for name, at in built.parts.items()}}
    for name, at in {**folders, "all together": tuple(built.parts.values())}.items():
        use = disk_use(*at)
        rows.append([name, _mib(use.once), _mib(use.naive), f"{use.once / max(use.naive, 1):.2f}"])
    header = ["folder", "on disk, MiB", "without links, MiB", "ratio"]
    return table("Disk, after a build from nothing", header, rows)


def _cache_types(origin: Path, folder: Path) -> str:
    rows = []
    for kind in CACHE_TYPES:
        machine = clone(origin, folder / kind, remote=REMOTE, cache_type=kind)
        try:
            seconds = machine.seconds("build", "--pull")
        except SystemExit:
            rows.append([kind, "-", "-", "-"])
            continue
        use = disk_use(*machine.parts.values())
        rows.append([kind, f"{seconds:.1f}", _mib(use.once), f"{use.once / use.naive:.2f}"])
    header = ["`cache.type`", "`build --pull`, s", "on disk, MiB", "of what it is without links"]
    return table("Disk, by the links of DVC's cache", header, rows)


def _mib(size: int) -> str:
    return f"{size / MIB:.1f}"


if __name__ == "__main__":
    main()
