"""The chain with its shards on Dask: sections, views and tokens of many notes at once.

    pip install prefect-dask
    export PREFECT_RESULTS_LOCAL_STORAGE_PATH=/shared/store
    python infra/on_dask.py configs/mimic-iv-llama-7b.yaml tcp://scheduler:8786

Without an address a cluster of this machine's cores is made for the run. The store and the source
must be shared folders that workers see at the same path. Training still runs where the flow runs.
"""

from __future__ import annotations

import sys

from prefect_dask import DaskTaskRunner

from flows.stages import adapt

if __name__ == "__main__":
    config, *address = sys.argv[1:]
    runner = DaskTaskRunner(address=address[0]) if address else DaskTaskRunner()
    adapt.with_options(task_runner=runner)(preset=config)
