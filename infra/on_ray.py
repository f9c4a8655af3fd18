"""The chain with its shards on Ray: sections, views and tokens of many notes at once.

    pip install prefect-ray
    export PREFECT_RESULTS_LOCAL_STORAGE_PATH=/shared/store
    python infra/on_ray.py configs/mimic-iv-llama-7b.yaml ray://head:10001

Without an address Ray starts on this machine. The store and the source must be shared folders that
workers see at the same path. Training still runs where the flow runs.
"""

from __future__ import annotations

import sys

from prefect_ray import RayTaskRunner

from flows.stages import adapt

if __name__ == "__main__":
    config, *address = sys.argv[1:]
    runner = RayTaskRunner(address=address[0]) if address else RayTaskRunner()
    adapt.with_options(task_runner=runner)(preset=config)
