from pathlib import Path

import pytest

from ptefoundry.cli.dvc_parsing import parsed_once


def test_the_same_text_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parsed: list[str] = []
    parse = _yaml.parse_yaml

    def count(text: str, path: str, typ: str = "safe") -> object:
        parsed.append(text)
        return parse(text, path, typ=typ)

    monkeypatch.setattr(_yaml, "parse_yaml", count)
    with parsed_once():
        first = _yaml.parse_yaml("a: [1, no, 0o7]", "x")
        # Who asks may change what is returned.
        first["a"].append("more")
        assert strictyaml.parse_yaml("a: [1, no, 0o7]", "y") == {"a": [1, "no", 7]}
        assert parsed == ["a: [1, no, 0o7]"]
        for number in range(20):
            assert _yaml.parse_yaml(f"a: {number}", "x") == {"a": number}
        # Comments are kept for who writes the file again.
        assert _yaml.parse_yaml("a: 1 # one", "x", typ="rt").ca.items
    assert _yaml.parse_yaml is count
    assert strictyaml.parse_yaml is count


def test_errors_are_those_of_dvc(tmp_path: Path) -> None:
    from dvc.utils.serialize import YAMLFileCorruptedError, load_yaml

    path = tmp_path / "file.yaml"
    path.write_text("a: [")
    with parsed_once(), pytest.raises(YAMLFileCorruptedError):
        load_yaml(path)
