import pytest

from ptefoundry.coreml.methods import list_methods
from ptefoundry.errors import ConfigError


def _names(*adapters: str, multifunction: bool) -> list[str]:
    return [method.name for method in list_methods(adapters, multifunction=multifunction)]


def test_one_method_a_variant() -> None:
    assert _names("red", "blue", multifunction=False) == ["forward", "blue", "red"]
    assert _names(multifunction=False) == ["forward"]


def test_two_methods_a_variant() -> None:
    assert _names("red", "blue", multifunction=True) == [
        *("forward", "prefill"),
        *("blue_forward", "blue_prefill"),
        *("red_forward", "red_prefill"),
    ]


def test_a_method_knows_its_adapter_and_role() -> None:
    methods = {method.name: method for method in list_methods(["red"], multifunction=True)}
    assert (methods["prefill"].adapter, methods["prefill"].role) == ("base", "prefill")
    assert (methods["red_forward"].adapter, methods["red_forward"].role) == ("red", "forward")


def test_functions_have_names_that_core_ml_takes() -> None:
    methods = list_methods(["my-tone", "4ever"], multifunction=True)
    functions = {method.name: method.function for method in methods}
    assert functions["my-tone_forward"] == "my_tone_forward"
    assert functions["4ever_prefill"] == "_4ever_prefill"
    assert functions["forward"] == "forward"
    assert all(function.isidentifier() for function in functions.values())


@pytest.mark.parametrize("multifunction", [False, True])
@pytest.mark.parametrize(
    ("adapters", "named"),
    [
        (("forward",), "reserved"),
        (("prefill",), "reserved"),
        (("base",), "reserved"),
        (("red", "red"), "used twice"),
        (("a", "a_forward"), "a method of adapter 'a'"),
        (("a", "a_prefill"), "a method of adapter 'a'"),
        (("a-b", "a_b"), "differ in CoreML"),
        (("Red",), "of the form"),
    ],
)
def test_ambiguous_names_are_refused(
    adapters: tuple[str, ...], named: str, multifunction: bool
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        list_methods(adapters, multifunction=multifunction, where="params.yaml:5: adapters")
    assert str(caught.value).startswith(f"params.yaml:5: adapters.{max(adapters)}: ")


def test_metadata_has_its_own_names() -> None:
    with pytest.raises(ConfigError, match="metadata"):
        list_methods(["get_adapters"], multifunction=False)
    list_methods(["get_adapters"], multifunction=True)
    with pytest.raises(ConfigError, match="metadata"):
        list_methods(["get_prefill_methods"], multifunction=False)
