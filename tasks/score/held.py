"""What is held in memory: bases, and on each the adapters and heads that were used last."""

from __future__ import annotations

import gc
from collections import OrderedDict

import torch

from tasks.model.heads.heads import Heads
from tasks.score.backbone import Backbone, BaseKey
from tasks.score.member import ScoredMember


class Held:
    """Members' weights; those that have not been used for longest make room for others."""

    def __init__(self, device: torch.device, most_members: int, most_bases: int) -> None:
        """Hold nothing yet.

        Args:
            most_members: so many members' adapters and heads are held at once.
            most_bases: so many bases are.
        """
        self.device, self.most_members, self.most_bases = device, most_members, most_bases
        self._backbones: OrderedDict[BaseKey, Backbone] = OrderedDict()
        self._members: OrderedDict[str, tuple[ScoredMember, Heads]] = OrderedDict()

    @property
    def members(self) -> tuple[str, ...]:
        """The keys of those that are held, the next to make room first."""
        return tuple(self._members)

    @property
    def bases(self) -> int:
        """How many bases are held."""
        return len(self._backbones)

    def touch(self, member: ScoredMember) -> None:
        """Let it count as used just now, if it is held."""
        if member.key in self._members:
            self._members.move_to_end(member.key)
            self._backbones.move_to_end(BaseKey.of(member, self.device))

    def load(self, member: ScoredMember) -> tuple[Backbone, Heads]:
        """Its base with its adapters on it, and its heads: loaded, where they are not held.

        Raises ModelError or ConfigError where it cannot be loaded.
        """
        self.touch(member)
        key = BaseKey.of(member, self.device)
        if member.key not in self._members:
            while len(self._members) >= self.most_members:
                self._drop(next(iter(self._members)))
            backbone = self._backbone(member, key)
            heads = Heads()
            heads.read(member.job.member)
            heads.requires_grad_(False).eval().to(self.device)
            backbone.add(member.parts or ())
            self._members[member.key] = member, heads
        return self._backbones[key], self._members[member.key][1]

    def _backbone(self, member: ScoredMember, key: BaseKey) -> Backbone:
        if key not in self._backbones:
            while len(self._backbones) >= self.most_bases:
                self._drop_base(next(iter(self._backbones)))
            self._backbones[key] = Backbone.load(member, key, self.device)
        self._backbones.move_to_end(key)
        return self._backbones[key]

    def _drop(self, key: str) -> None:
        """Drop a member; a base that it had for itself goes with it."""
        member, _ = self._members.pop(key)
        base = BaseKey.of(member, self.device)
        if member.parts is None:
            self._drop_base(base)
        else:
            self._backbones[base].remove(member.parts)

    def _drop_base(self, base: BaseKey) -> None:
        """Drop a base, and the members on it."""
        of_base = [
            key
            for key, (member, _) in self._members.items()
            if BaseKey.of(member, self.device) == base
        ]
        for key in of_base:
            del self._members[key]
        del self._backbones[base]
        gc.collect()  # modules and PEFT's wrappers name one another
