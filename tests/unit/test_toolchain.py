import json
from pathlib import Path

import pytest

from ptefoundry import toolchain
from ptefoundry.errors import ConfigError
from ptefoundry.toolchain import check_toolchain, current_toolchain, pin_toolchain


def test_pinning_twice_changes_nothing(tmp_path: Path) -> None:
    assert pin_toolchain(tmp_path)
    before = (tmp_path / "toolchain.json").read_bytes()
    assert not pin_toolchain(tmp_path)
    assert (tmp_path / "toolchain.json").read_bytes() == before


def test_pinned_toolchain_is_accepted(tmp_path: Path) -> None:
    pin_toolchain(tmp_path)
    for section in current_toolchain():
        check_toolchain(tmp_path, section)


def test_difference_is_named_and_concerns_its_section_only(tmp_path: Path) -> None:
    pin_toolchain(tmp_path)
    path = tmp_path / "toolchain.json"
    pinned = json.loads(path.read_text())
    pinned["compile"]["torch"] = "1.0"
    path.write_text(json.dumps(pinned))
    with pytest.raises(ConfigError, match=r"compile\.torch: pinned 1\.0, found "):
        check_toolchain(tmp_path, "compile")
    check_toolchain(tmp_path, "convert")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "toolchain.json").write_text(text)
    with pytest.raises(ConfigError, match=r"toolchain\.json"):
        check_toolchain(tmp_path, "fetch")


def test_code_is_the_import_closure_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a module changes the sections that use it, and no others."""
    before = current_toolchain()
    real = toolchain.hash_file

    def altered(path: Path) -> str:
        return "altered" if path.parts[-2:] == ("lowering", "xnnpack.py") else real(path)

    monkeypatch.setattr(toolchain, "hash_file", altered)
    after = current_toolchain()
    changed = {name for name in before if before[name] != after[name]}
    assert "compile" in changed
    assert not changed & {"fetch", "convert", "reference", "link", "runner", "smoke"}


@pytest.mark.parametrize(
    ("module", "sections"),
    [
        (("sources", "http.py"), ["fetch"]),
        (("lowering", "link.py"), ["foundation", "link", "bundle"]),
        (("lowering", "foundation.py"), ["foundation", "link", "bundle"]),
        (("adapter", "signatures.py"), ["link"]),
    ],
)
def test_code_rebuilds_what_it_makes_only(
    monkeypatch: pytest.MonkeyPatch, module: tuple[str, str], sections: list[str]
) -> None:
    before = current_toolchain()
    real = toolchain.hash_file

    def altered(path: Path) -> str:
        return "altered" if path.parts[-2:] == module else real(path)

    monkeypatch.setattr(toolchain, "hash_file", altered)
    after = current_toolchain()
    assert [name for name in before if before[name] != after[name]] == sections


def test_syntax_of_params_compiles_nothing_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A template's recipe has the values of params.yaml, so its syntax may change."""
    before = current_toolchain()
    real = toolchain.hash_file
    changed = ("params.py", "files.py")
    monkeypatch.setattr(
        toolchain, "hash_file", lambda path: "altered" if path.name in changed else real(path)
    )
    after = current_toolchain()
    assert after["compile"] == before["compile"]
    assert after["bundle"] != before["bundle"]
