"""Which number formats a device computes in."""

import torch


def computes_bf16(device: torch.device) -> bool:
    """Whether products in bf16 are faster there than in fp32; a CPU without them is far slower."""
    if device.type != "cpu":
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
