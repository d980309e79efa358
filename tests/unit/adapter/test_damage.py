"""Whatever happens to an adapter's files, the answer is AdapterError or the adapter."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ptefoundry.adapter.describe import describe_adapter
from ptefoundry.adapter.fields import CONFIG_FILE
from ptefoundry.adapter.fit import fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.adapter.weights import WEIGHTS_FILE
from ptefoundry.errors import AdapterError
from support.tiny_adapters import FIELDS, TINY, write_adapter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def good_files():
    with tempfile.TemporaryDirectory() as name:
        folder = write_adapter(Path(name))
        return (folder / CONFIG_FILE).read_bytes(), (folder / WEIGHTS_FILE).read_bytes()


CONFIG, WEIGHTS = good_files()


def answers(config: bytes, weights: bytes) -> tuple[bool, bool]:
    """Whether a description calls the two files usable, and whether they can be fitted.

    Any error but AdapterError fails the test.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CONFIG_FILE).write_bytes(config)
        (folder / WEIGHTS_FILE).write_bytes(weights)
        described = describe_adapter(folder, TINY).usable
        try:
            fit_adapter(read_adapter(folder), TINY)
        except AdapterError:
            return described, False
        return described, True


def refused(config: bytes, weights: bytes) -> bool:
    return answers(config, weights) == (False, False)


def test_undamaged_files_are_accepted():
    assert answers(CONFIG, WEIGHTS) == (True, True)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(WEIGHTS) - 1))
def test_every_truncation_is_refused(length):
    assert refused(CONFIG, WEIGHTS[:length])


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_anything_appended_is_refused(more):
    assert refused(CONFIG, WEIGHTS + more)


@settings(deadline=None, max_examples=150)
@given(st.integers(min_value=0, max_value=len(WEIGHTS) - 1), st.binary(min_size=1, max_size=8))
def test_overwritten_bytes_raise_nothing_else(position, patch):
    damaged = WEIGHTS[:position] + patch + WEIGHTS[position + len(patch) :]
    described, fits = answers(CONFIG, damaged)
    assert described == fits


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_weights_are_refused(weights):
    assert refused(CONFIG, weights)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_configurations_are_refused(config):
    assert refused(config, WEIGHTS)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([*FIELDS, "rank_pattern", "exclude_modules", "layers_to_transform"]), JSON)
def test_any_value_of_a_field_raises_nothing_else(name, value):
    described, fits = answers(json.dumps({**FIELDS, name: value}).encode(), WEIGHTS)
    assert described == fits


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_as_a_regular_expression_raises_nothing_else(text):
    fields = {
        **FIELDS,
        "target_modules": text,
        "rank_pattern": {text: 2},
        "alpha_pattern": {text: 1},
    }
    described, fits = answers(json.dumps(fields).encode(), WEIGHTS)
    assert described == fits
