"""Settings of all tests: no model hub, no user's cache, no colours, no spinning threads."""

import os
import signal

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as stages have it; workers share the cores
os.environ.pop("PTEFOUNDRY_CACHE", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job. Tests interrupt commands, which would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines how many tests had no container engine, and why."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if "/container/" in report.nodeid:
            reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} container tests were skipped: {reason}", yellow=True)
