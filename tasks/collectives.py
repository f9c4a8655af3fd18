"""DeepSpeed beside torch: with torch's process group, and without compiling anything.

On CPU ranks DeepSpeed loads an operator for sums through shared memory. Only inference uses it
(`inference_all_reduce`); training goes through gloo either way. Where the installation lacks it,
DeepSpeed compiles it at run time: that needs g++ and ninja, takes minutes, and waits without end
on a lock file that a killed run left behind. So it is never asked for.

In its steps DeepSpeed imports Muon, an optimizer that we never use, and with it all of torch's
compiler: 1.3 s of every training. So a module with no more than its names stands in for it.
"""

from __future__ import annotations

import sys
from types import ModuleType

MUON = ModuleType("deepspeed.runtime.zero.muon.original_muon")
vars(MUON).update(MuonWithAuxAdam=type("Muon", (), {}), muon_update=None, adam_update=None)


def join_deepspeed() -> None:
    """Make DeepSpeed use the process group that the ranks have; a second call does nothing."""
    import deepspeed
    import torch

    sys.modules.setdefault(MUON.__name__, MUON)
    deepspeed.ops.__compatible_ops__ = {}  # otherwise it runs a compiler to see which there are
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), verbose=False)
