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


def test_the_graph_is_loaded_again_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc import dvcfile

    loaded: list[str] = []

    def load(_repo: object, path: str, **_options: object) -> object:
        loaded.append(Path(path).name)
        return object()

    monkeypatch.setattr(dvcfile, "load_file", load)
    graph, lock, other = (tmp_path / name for name in ("dvc.yaml", "dvc.lock", "other.yaml"))
    graph.write_text("stages: {}")
    repo = object()
    with parsed_once():
        first = dvcfile.load_file(repo, str(graph))
        assert dvcfile.load_file(repo, str(graph)) is first
        assert dvcfile.load_file(object(), str(graph)) is not first
        second = dvcfile.load_file(repo, str(graph))
        lock.write_text("stages: {}")
        assert dvcfile.load_file(repo, str(graph)) is not second
        assert dvcfile.load_file(repo, str(other)) is not dvcfile.load_file(repo, str(other))
    assert loaded == ["dvc.yaml"] * 4 + ["other.yaml"] * 2
    assert dvcfile.load_file is load
