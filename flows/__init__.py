"""No telemetry: Prefect reads these variables when it is imported, and in servers that we start."""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
