"""Settings of all tests: no hub, no reports, no user's cache, no colours, no spinning threads."""

import os
import signal

import pytest

from support.skips import skip_lines

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as stages have it; workers share the cores
os.environ.pop("PTEFOUNDRY_CACHE", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job. Tests interrupt commands, which would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines how many tests were skipped, and why."""
    for line in skip_lines(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line, yellow=True)
