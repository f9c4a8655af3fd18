"""What the training and prediction programs are told, without torch: what their steps take."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.config import Config
from tasks.finetune.config import MemberTraining
from tasks.keys import Input
from tasks.model.adapters.methods import UNNAMED, BaseName
from tasks.variants import Variant


class MemberJob(Config):
    """A member to train, and from what."""

    name: str  # of the training: the member's, and its outcome's where it learns one alone
    member: str
    trained: tuple[str, ...]  # which of the summands go on learning
    config: MemberTraining
    base: Input
    base_name: BaseName = UNNAMED  # for the adapters' configs
    summands: Mapping[str, Input]  # the adapters beside the task adapter, in order
    tokenizer: Input
    encoded: Input
    outcomes: Mapping[str, Input]


class PredictJob(Config):
    """A trained member, and the variants of it that predict."""

    member: MemberJob
    adapter: Input  # a task-adapter artifact
    variants: tuple[Variant, ...]
