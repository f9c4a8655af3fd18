"""DeepSpeed's collectives beside torch's, without compiling anything.

On CPU ranks DeepSpeed loads an operator for sums through shared memory. Only inference uses it
(`inference_all_reduce`); training goes through gloo either way. Where the installation lacks it,
DeepSpeed compiles it at run time: that needs g++ and ninja, takes minutes, and waits without end
on a lock file that a killed run left behind. So it is never asked for.
"""

from __future__ import annotations

SHARED_MEMORY_OPERATOR = "deepspeed_shm_comm"


def join_deepspeed() -> None:
    """Make DeepSpeed use the process group that the ranks have; a second call does nothing."""
    import deepspeed
    import torch

    deepspeed.ops.__compatible_ops__[SHARED_MEMORY_OPERATOR] = False
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), verbose=False)
