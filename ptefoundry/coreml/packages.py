"""Packages that CoreML programs are built and run with, which an installation may lack."""

import importlib.util

from ptefoundry.errors import MissingToolError


def check_packages(*packages: str) -> None:
    """Say what is missing before it is needed.

    Raises:
        MissingToolError: one of the packages is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingToolError(
                f"backend coreml: expected the Python package {package}, found none; install it: "
                f"pip install {package}, in the version of requirements-build.lock"
            )
