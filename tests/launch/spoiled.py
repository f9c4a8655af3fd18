"""Imported by the warm process, it makes it believe that CUDA was asked before the fork."""

import torch

torch.cuda._is_in_bad_fork = lambda: True
