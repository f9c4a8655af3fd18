"""Bases, adapters and heads."""

import logging

# PEFT imports bitsandbytes wherever it is installed, which then warns of kernels of a hub
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
