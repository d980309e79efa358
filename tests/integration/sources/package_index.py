"""A package index in a folder, as pip reads it, with wheels made on the spot."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """Write a wheel of data files; `name` must be normalized with underscores."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def write_index(folder: Path, wheel: Path) -> str:
    """Add a wheel to the simple index in `folder`; returns the index's file: URL."""
    project = folder / wheel.name.split("-")[0].replace("_", "-")
    project.mkdir(parents=True, exist_ok=True)
    page = f'<!DOCTYPE html><a href="{wheel.as_uri()}">{wheel.name}</a>'
    (project / "index.html").write_text(page)
    return folder.as_uri()


def pip_environment(index_url: str) -> dict[str, str]:
    """Variables that make pip use this index and nothing of the machine's configuration."""
    return {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": index_url,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_NO_INDEX": "",
        "PIP_RETRIES": "0",
        "PIP_DEFAULT_TIMEOUT": "5",
        "PIP_NO_CACHE_DIR": "1",
    }
