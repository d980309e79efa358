"""`ptefoundry rebuild` in workspaces whose stages are stand-ins."""

import json
from pathlib import Path
from typing import Any


def test_a_rebuild_without_any_cache_has_the_same_bytes(built: Any) -> None:
    done = built.run("rebuild", "--verify")
    # Nothing is restored: each stage runs again.
    assert done.stderr.count(" ran ") == 19
    assert " cached " not in done.stderr
    assert done.stdout.startswith("rebuild: the same ")


def test_an_altered_bundle_is_named_by_file_and_bytes(built: Any) -> None:
    bundle = built.root / "artifacts" / "bundle"
    path = bundle / "xnnpack" / "foundation.ptd"
    text = path.read_text()
    path.unlink()
    path.write_text("F" + text[1:])
    manifest = bundle / "manifest.json"
    fields = json.loads(manifest.read_text())
    manifest.unlink()
    manifest.write_text(json.dumps(fields | {"name": "other"}) + "\n")
    done = built.run("rebuild", "--verify", "--json", code=6)
    (build,) = json.loads(done.stdout)["builds"]
    found = {(one["path"], one["section"]): one["bytes"] for one in build["differences"]}
    assert found == {
        # `t` is in both at the same place, and a quotation mark.
        ("manifest.json", "field name"): len('"stand-in"') - 2,
        ("xnnpack/foundation.ptd", ""): 1,
    }
    assert build["origins"] == []
    assert "2 differences in manifest.json, xnnpack/foundation.ptd" in done.stderr


def test_an_altered_runner_is_found(built: Any) -> None:
    path = built.root / "artifacts" / "runner" / "bin" / "ptefoundry-runner"
    path.unlink()
    path.write_text("another")
    done = built.run("rebuild", "--verify", code=6)
    assert "runner/bin/ptefoundry-runner: " in done.stdout


def test_what_depends_on_the_surroundings_is_found_with_its_stage(command_line: Any) -> None:
    command_line.environment["TZ"] = "UTC"
    command_line.behave(foundation__xnnpack={"environment": ["TZ"]})
    command_line.run("build")
    # The same time zone: found only where it differs.
    command_line.run("rebuild", "--verify")
    done = command_line.run("rebuild", "--verify", "--vary", "--json", code=6)
    builds = json.loads(done.stdout)["builds"]
    assert [one["name"] for one in builds] == ["first", "second"]
    for one in builds:
        assert [each["path"] for each in one["differences"]] == ["xnnpack/foundation.ptd"]
        assert one["origins"] == ["foundation@xnnpack"]


def test_another_toolchain_is_refused_unless_allowed(built: Any) -> None:
    lock = built.root / "dvc.lock"
    lock.write_text(lock.read_text().replace("executorch: 1.", "executorch: 0."))
    done = built.run("rebuild", "--verify", code=2)
    assert "compile.executorch: 0." in done.stderr
    assert "--allow-other-toolchain" in done.stderr
    done = built.run("rebuild", "--verify", "--allow-other-toolchain")
    assert "warning: expected the toolchain" in done.stderr


def test_changed_inputs_are_told_before_anything_is_built(command_line: Any) -> None:
    params = command_line.root / "params.yaml"
    text = params.read_text().replace("source: hf:example/red@main", "source: file:../red")
    params.write_text(text)
    adapter = command_line.root.parent / "red" / "adapter_config.json"
    adapter.parent.mkdir()
    adapter.write_text("{}")
    command_line.run("build")
    command_line.run("rebuild", "--verify")
    adapter.write_text('{"r": 8}')
    done = command_line.run("rebuild", "--verify", code=3)
    assert "found others: fetch-adapter@red" in done.stderr
    assert "compile@xnnpack" not in done.stderr
    adapter.unlink()
    adapter.parent.rmdir()
    done = command_line.run("rebuild", "--verify", code=4)
    assert "expected the input adapters.red" in done.stderr


def test_parameters_that_were_edited_since_do_not_matter(built: Any) -> None:
    params = built.root / "params.yaml"
    params.write_text(params.read_text().replace("context_length: 1024", "context_length: 512"))
    built.run("rebuild", "--verify")


def test_a_failing_rebuild_has_the_exit_code_of_its_stage(built: Any) -> None:
    built.behave(compile__xnnpack={"exit": 3})
    done = built.run("rebuild", "--verify", code=3)
    assert "stage compile@xnnpack failed" in done.stderr
    assert "nothing could be compared" in done.stderr


def test_what_was_rebuilt_is_kept_where_asked(built: Any, tmp_path: Path) -> None:
    built.run("rebuild", "--keep", str(tmp_path / "kept"))
    assert (tmp_path / "kept/rebuild/tree/workspace/artifacts/bundle/manifest.json").is_file()
    done = built.run("rebuild", "--keep", str(tmp_path / "kept"), code=2)
    assert "name another folder" in done.stderr


def test_it_says_what_it_needs(command_line: Any) -> None:
    assert "expected --verify" in command_line.run("rebuild", code=2).stderr
    assert "run `ptefoundry build` first" in command_line.run("rebuild", "--verify", code=2).stderr
