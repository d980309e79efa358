import pytest

from ptefoundry.base.sources import (
    FileSource,
    HttpSource,
    HubSource,
    PypiSource,
    S3Source,
    Source,
    parse_source,
)
from ptefoundry.errors import ConfigError

WHERE = "params.yaml: base.source"
COMMIT = "0" * 40


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        (f"hf:org/name@{COMMIT}", ("org/name", COMMIT, "")),
        ("hf:Qwen/Qwen2.5-0.5B@main", ("Qwen/Qwen2.5-0.5B", "main", "")),
        ("hf:org/name@v1.0/", ("org/name", "v1.0", "")),
        ("hf:org/name@main/q4/m.gguf", ("org/name", "main", "q4/m.gguf")),
        ("hf:org/name@main/folder/", ("org/name", "main", "folder")),
        ("hf:org/name@refs%2Fpr%2F1/a", ("org/name", "refs/pr/1", "a")),
    ],
)
def test_hub(spec: str, source: tuple[str, str, str]) -> None:
    repo, revision, path = source

    assert parse_source(spec, where=WHERE) == HubSource(spec, repo, revision, path)


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ("pypi:llm-tiny==0.1.2/llm_tiny/m.gguf", ("llm-tiny", "0.1.2", "llm_tiny/m.gguf")),
        ("pypi:a.b_c==1!2.0+cpu/x/", ("a.b_c", "1!2.0+cpu", "x")),
    ],
)
def test_pypi(spec: str, source: tuple[str, str, str]) -> None:
    assert parse_source(spec, where=WHERE) == PypiSource(spec, *source)


@pytest.mark.parametrize(
    ("spec", "bucket", "key"),
    [
        ("s3://bucket/a/model.gguf", "bucket", "a/model.gguf"),
        ("s3://bucket/a/", "bucket", "a/"),
        ("s3://bucket/", "bucket", ""),
    ],
)
def test_s3(spec: str, bucket: str, key: str) -> None:
    assert parse_source(spec, where=WHERE) == S3Source(spec, bucket, key)


@pytest.mark.parametrize("path", ["models/base", "../shared/base", "/mnt/base", "a b.gguf", "."])
def test_file(path: str) -> None:
    assert parse_source(f"file:{path}", where=WHERE) == FileSource(f"file:{path}", path)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("https://host/a/model.gguf", "model.gguf"),
        ("https://host:8443/model.gguf?sig=a/b", "model.gguf"),
        ("http://127.0.0.1:8000/a%20b.gguf", "a b.gguf"),
    ],
)
def test_http(spec: str, name: str) -> None:
    assert parse_source(spec, where=WHERE) == HttpSource(spec, name)


@pytest.mark.parametrize(
    ("spec", "unprotected"),
    [
        ("https://host/a", False),
        ("http://host/a", True),
        ("http://10.0.0.1/a", True),
        ("http://localhost.evil.example/a", True),
        ("http://localhost/a", False),
        ("http://127.0.0.1:9/a", False),
        ("http://[::1]:9/a", False),
    ],
)
def test_only_loopback_is_safe_without_tls(spec: str, unprotected: bool) -> None:
    source: Source = parse_source(spec, where=WHERE)

    assert isinstance(source, HttpSource)
    assert source.unprotected is unprotected


@pytest.mark.parametrize("spec", ["", "models/base", "hf", "ftp://host/file", "HF:org/name@main"])
def test_unknown_form_lists_those_there_are(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_source(spec, where=WHERE)

    text = str(caught.value)
    assert text.startswith(f"{WHERE}: expected hf:org/name@revision, pypi:")
    assert all(form in text for form in ("s3://bucket/prefix/", "file:path", "https://"))
    assert repr(spec) in text


@pytest.mark.parametrize(
    "spec",
    [
        "hf:name@main",
        "hf:org/name",
        "hf:org/name@",
        "hf:org/name@main branch",
        "hf:org/../name@main",
        "hf:org/name@main/../x",
        "hf:org/name@main/a//b",
        "pypi:name/path",
        "pypi:name==1.0",
        "pypi:name==1.0/",
        "pypi:name==1.*/path",
        "pypi:name>=1.0/path",
        "pypi:--index-url==1/path",
        "pypi:name==1.0//etc/passwd",
        "pypi:name==1.0/a/../../b",
        "pypi:name==1.0/a\\b",
        "s3:bucket/key",
        "s3://bucket",
        "s3:///key",
        "s3://bucket/a/..",
        "file:",
        "file: ",
        "file:///etc/model",
        "https://",
        "https:///model.gguf",
        "https://host/",
        "https://host/a/..",
        "https://host/..%2f..%2fmodel/",
        "https://host/a#b",
        "https://host:99999/a",
        "https://[::1/a",
    ],
)
def test_malformed_spec_names_the_field(spec: str) -> None:
    with pytest.raises(ConfigError, match=f"^{WHERE}: expected"):
        parse_source(spec, where=WHERE)


def test_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="login inside the URL of host") as caught:
        parse_source("https://user:secret@host/model.gguf", where=WHERE)

    assert "secret" not in str(caught.value)


def test_encoded_slashes_do_not_make_a_path() -> None:
    source = parse_source("https://host/..%2F..%2Fmodel.gguf", where=WHERE)

    assert source == HttpSource("https://host/..%2F..%2Fmodel.gguf", "model.gguf")
