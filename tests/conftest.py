"""Settings of all tests: no model hub, no user's cache, no colours, no spinning threads."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as stages have it; workers share the cores
os.environ.pop("PTEFOUNDRY_CACHE", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job. Tests interrupt commands, which would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
