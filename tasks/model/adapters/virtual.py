"""Virtual tokens before texts of which only states are wanted.

PEFT puts them there where its model is called; the states are taken from the part of it that lies
before the output layer, which is what is called here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel, PeftType
from torch import Tensor, nn

from tasks.model.adapters.build import language_model


class VirtualTokens:
    """Hooks on the part that is called, which put a PEFT model's virtual tokens before each text.

    It is called with input_ids, and perhaps a mask, by name.
    """

    def __init__(self, peft: PeftModel, called: nn.Module) -> None:
        self.peft = peft
        self.count: int = peft.active_peft_config.num_virtual_tokens
        self._aside = False
        called.register_forward_pre_hook(self._put_before, with_kwargs=True)
        called.register_forward_hook(self._take_off)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Within it texts are read without them."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def _put_before(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._aside:
            return args, kwargs
        ids: Tensor = kwargs["input_ids"]
        mask: Tensor | None = kwargs.get("attention_mask")
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(ids), self.count), mask], dim=1)
            kwargs = {**kwargs, "attention_mask": mask}
        prompts = self.peft.get_prompt(len(ids))
        if not isinstance(prompts, Tensor):  # keys and values, of which no states are given
            return args, {**kwargs, "past_key_values": prompts}
        embed = language_model(self.peft).get_input_embeddings()
        embedded = embed(ids)
        whole = torch.cat([prompts.to(embedded.dtype), embedded], dim=1)
        return args, {**kwargs, "input_ids": None, "inputs_embeds": whole}

    def _take_off(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self._states_are_given and not self._aside:
            output.last_hidden_state = output.last_hidden_state[:, self.count :]
        return output

    @property
    def _states_are_given(self) -> bool:
        """Whether the virtual tokens pass through the model as tokens do."""
        return self.peft.active_peft_config.peft_type != PeftType.PREFIX_TUNING
