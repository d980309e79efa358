from ptefoundry.cli.changes import describe_changes


def test_equal_values_have_no_lines() -> None:
    assert describe_changes({"a": {"b": [1]}}, {"a": {"b": [1]}}) == []


def test_every_value_has_its_line() -> None:
    old = {"smoke": {"tokens": 32, "gone": 1}, "same": 0}
    new = {"smoke": {"tokens": 48, "prompt": "x"}, "same": 0}
    assert describe_changes(old, new) == [
        "smoke.gone: 1 is gone",
        "smoke.prompt: x is new",
        "smoke.tokens: 32 -> 48",
    ]


def test_section_that_becomes_a_value_is_one_line() -> None:
    assert describe_changes({"a": {"b": 1}}, {"a": 2}) == ["a: {'b': 1} -> 2"]


def test_digests_and_long_values_are_shortened() -> None:
    (line,) = describe_changes({"code": "a" * 64}, {"code": "b" * 200})
    assert line == f"code: {'a' * 12} -> {'b' * 57}..."
