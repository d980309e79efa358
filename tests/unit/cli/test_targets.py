from pathlib import Path

import pytest

from ptefoundry.cli.targets import find_targets
from ptefoundry.errors import ConfigError
from ptefoundry.params import load_params


def test_nothing_asked_is_everything(workspace: Path) -> None:
    assert find_targets(load_params(workspace), backends=(), adapters=()) == ()


def test_adapters_mean_their_smoke_runs(workspace: Path) -> None:
    targets = find_targets(load_params(workspace), backends=(), adapters=("red", "base"))
    assert targets == ("smoke@xnnpack-red", "smoke-base@xnnpack")


def test_backend_means_all_of_its_smoke_runs(workspace: Path) -> None:
    targets = find_targets(load_params(workspace), backends=("xnnpack",), adapters=())
    assert targets == ("smoke-base@xnnpack", "smoke@xnnpack-red", "smoke@xnnpack-blue")


@pytest.mark.parametrize(
    ("backends", "adapters", "text"),
    [
        (("vulkan",), (), "--backend: expected one of xnnpack, found 'vulkan'"),
        ((), ("green",), "--adapter: expected one of base, red, blue, found 'green'"),
    ],
)
def test_unknown_names_are_refused(
    workspace: Path, backends: tuple[str, ...], adapters: tuple[str, ...], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        find_targets(load_params(workspace), backends=backends, adapters=adapters)
