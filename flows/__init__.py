"""What holds in every process of a flow.

No telemetry: Prefect reads these variables when it is imported, and in servers that we start. And a
flow that a worker has started outlives it.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

if "PREFECT__FLOW_RUN_ID" in os.environ:  # as a worker's engine is told which run it is
    from flows.broken_pipe import outlive_reader

    outlive_reader()
