from pathlib import Path

from ptefoundry.container.index import PackageIndex, usual_index

INDEX = "https://user:secret@packages.example/simple"


def test_variables_of_the_caller_count(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("certificates")
    index = usual_index(
        {
            "PIP_INDEX_URL": INDEX,
            "PIP_EXTRA_INDEX_URL": "https://cpu.example/a\nhttps://cpu.example/b",
            "PIP_TRUSTED_HOST": "",
            "PIP_CERT": str(tmp_path / "missing"),
            "SSL_CERT_FILE": str(authorities),
            "HTTPS_PROXY": "http://proxy.example:3128",
            "no_proxy": "localhost",
            "HOME": "/root",
        }
    )
    assert index.proxies == {"HTTPS_PROXY": "http://proxy.example:3128", "no_proxy": "localhost"}
    assert index.certificates == authorities
    assert index.pip_conf("/there/ca.pem") == (
        "[global]\n"
        f"index-url = {INDEX}\n"
        "extra-index-url = https://cpu.example/a https://cpu.example/b\n"
        "cert = /there/ca.pem\n"
    )


def test_nothing_is_said_where_nothing_is_set() -> None:
    assert usual_index({"PATH": "/bin"}) == PackageIndex()
    assert PackageIndex().pip_conf("/there/ca.pem") == ""


def test_indexes_identify_without_passwords_and_ways_to_them() -> None:
    index = usual_index({"PIP_INDEX_URL": INDEX, "PIP_TRUSTED_HOST": "packages.example"})
    other = usual_index(
        {"PIP_INDEX_URL": INDEX.replace("secret", "other"), "https_proxy": "http://proxy.example"}
    )
    assert index.identity() == {"PIP_INDEX_URL": ["https://packages.example/simple"]}
    assert other.identity() == index.identity()
    assert usual_index({"PIP_INDEX_URL": "https://else.example"}).identity() != index.identity()
