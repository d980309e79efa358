"""Settings of all tests: no model hub, no user's cache, no colours."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ.pop("PTEFOUNDRY_CACHE", None)
