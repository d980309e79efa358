import pytest

from ptefoundry.adapter.names import RESERVED, check_name
from ptefoundry.errors import ConfigError


@pytest.mark.parametrize("name", ["support", "a", "7b", "code-v2", "two_words", "0"])
def test_good_names_are_returned(name):
    assert check_name(name, where="params.yaml: adapters", taken=["other"]) == name


@pytest.mark.parametrize(
    "name",
    ["", "Support", "-a", "_a", "a b", "a/b", "..", "a.b", "é", "support\n", " support", "a\x00"],
)
def test_malformed_names_are_refused(name):
    with pytest.raises(ConfigError, match=r"params.yaml: adapters.*\[a-z0-9\]") as caught:
        check_name(name, where="params.yaml: adapters")
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused(name):
    with pytest.raises(ConfigError, match=f"here: .*{name}.*reserved"):
        check_name(name, where="here")


def test_reserved_names_are_those_of_methods_and_the_base():
    assert {"base", "forward", "prefill", "decode"} == RESERVED


def test_names_are_used_once():
    with pytest.raises(ConfigError, match=r"here: .*'support'.*twice"):
        check_name("support", where="here", taken={"support"})
