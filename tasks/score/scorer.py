"""Score texts with trained members: a base is loaded once, what members add to it is switched.

    scorer = Scorer(store)
    scores = scorer.score(texts, ["26acae84", "5cacba09"])
    scores["26acae84"]["mortality"].probabilities  # [texts, labels]

Members that add the same LoRAs to one base, as all heads on a frozen trunk do, share the forward
pass; others share the base, and the tokens of the texts. Adapters and heads that have not been used
for longest make room for new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.data.encoder import Encoder
from tasks.data.notes import padded
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError, ModelError
from tasks.finetune.encode import cut
from tasks.model.bases.load import check_positions
from tasks.model.heads.heads import Heads
from tasks.model.score import SCORED_TOKENS, Logits, in_batches
from tasks.model.trunk import as_kept
from tasks.score.backbone import Backbone, BaseKey
from tasks.score.calibration import Calibration, Labels
from tasks.score.held import Held
from tasks.score.member import ScoredMember
from tasks.store import Store

Ids = list[NDArray[np.int32]]  # of each text


@dataclass(frozen=True)
class Scores:
    """What a member says of an outcome of some texts; arrays are [texts, labels]."""

    logits: NDArray[np.float32]
    calibration: Calibration

    @property
    def labels(self) -> Labels:
        return self.calibration.labels

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated on validation."""
        return self.calibration.probabilities(self.logits)

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Where the threshold with the best F1 on validation is reached."""
        return self.calibration.flagged(self.logits)


class Scorer:
    """Trained members of a store on the bases that they share.

    Not to be called by two threads at once: a base has one set of adapters switched on.
    """

    def __init__(
        self,
        store: Store,
        *,
        device: str | None = None,
        most_members: int = 32,
        most_bases: int = 2,
        base: Path | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            device: where models compute; None: the GPU, if there is one.
            most_members: so many members' adapters and heads are held at once.
            most_bases: so many bases are. A member that is no sum of LoRAs has one for itself.
            base: where the base lies, if it is no artifact and not where it was in training.
        """
        self.store, self.given_base = store, base
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._held = Held(self.device, most_members, most_bases)
        # labels and calibrations, which are small; by key, and by what else they were asked for as
        self._records: dict[str, ScoredMember] = {}
        self._encoders: dict[Path, tuple[LoadedTokenizer, Encoder]] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The keys of the members whose weights are in memory, the next to make room first."""
        return self._held.members

    @property
    def bases(self) -> int:
        """How many bases are in memory."""
        return self._held.bases

    def member(self, key: str) -> ScoredMember:
        """What is known of a member, without its weights: its outcomes, labels, and text.

        Args:
            key: of a task-adapter artifact, or its first characters.

        Raises StoreError or ConfigError where it, or a part of it, is not there.
        """
        name = key.rpartition("/")[2]
        if name not in self._records:
            record = ScoredMember.read(self.store, key, base=self.given_base)
            self._records[name] = self._records.setdefault(record.key, record)
        return self._records[name]

    def encode(self, texts: Sequence[str], key: str) -> Ids:
        """The token ids of each text that a member reads."""
        return self._encoded(texts, self.member(key), {})

    def score(
        self, texts: Sequence[str], members: Iterable[str], outcomes: Collection[str] = ()
    ) -> dict[str, dict[str, Scores]]:
        """The scores of these texts, by member, as it was asked for, and outcome.

        Args:
            texts: as the members were trained on; `member(key).text_view` makes them of notes.
            members: keys, as `member` takes them.
            outcomes: those that are wanted of each member that has them; empty: all.

        Raises StoreError, ConfigError or ModelError where a member cannot be loaded, or gives NaN.
        """
        wanted = {key: self.member(key) for key in members}
        encoded: dict[Hashable, Ids] = {}
        scores: dict[str, dict[str, Scores]] = {}
        for sharing in self._sharing(wanted):
            first = wanted[sharing[0]]
            ids = self._encoded(texts, first, encoded)
            for key in sharing:
                self._held.touch(wanted[key])
            loaded = {key: self._held.load(wanted[key]) for key in sharing}
            backbone = loaded[sharing[0]][0]
            backbone.switch_to(first.parts or ())
            heads = {key: heads for key, (_, heads) in loaded.items()}
            told = {
                key: [name for name in wanted[key].outcomes if not outcomes or name in outcomes]
                for key in sharing
            }
            pad = self._encoder(first)[0].pad
            logits = _logits(backbone, heads, told, ids, pad, kept=first.job.frozen)
            for key in sharing:
                scores[key] = _checked(wanted[key], logits[key])
        return {key: scores[key] for key in wanted}

    def _sharing(self, members: Mapping[str, ScoredMember]) -> Iterator[list[str]]:
        """Those that share a forward pass, as many as are held; those of one base in a row."""

        def shared(key: str) -> tuple[str, ...]:
            member = members[key]
            parts = None if member.parts is None else [part.name for part in member.parts]
            read = member.job.tokenizer, member.job.max_tokens, member.job.tail_tokens
            base = BaseKey.of(member, self.device)
            return tuple(map(repr, (base, parts, read, member.job.frozen)))

        for _, keys in groupby(sorted(members, key=shared), key=shared):
            same = list(keys)
            for start in range(0, len(same), self._held.most_members):
                yield same[start : start + self._held.most_members]

    def _encoded(
        self, texts: Sequence[str], member: ScoredMember, known: dict[Hashable, Ids]
    ) -> Ids:
        """The token ids of the texts as that member reads them.

        Args:
            known: those of other members, to which these are added.
        """
        job = member.job
        if job.max_tokens is None:
            raise ConfigError(
                f"it is not known how many tokens task-adapter/{member.key} reads, since its "
                "encoded notes are gone; run its configuration again"
            )
        tokenizer, encoder = self._encoder(member)
        last = max(job.tail_tokens, len(tokenizer.frame[1]))
        read = (job.tokenizer, job.max_tokens, last)
        if read not in known:
            if job.tokenizer not in known:
                known[job.tokenizer] = encoder.encode(texts)
            known[read] = [cut(ids, job.max_tokens, last) for ids in known[job.tokenizer]]
        return known[read]

    def _encoder(self, member: ScoredMember) -> tuple[LoadedTokenizer, Encoder]:
        folder = member.job.tokenizer
        if folder not in self._encoders:
            loaded = LoadedTokenizer.load(folder)
            self._encoders[folder] = loaded, Encoder(loaded.tokenizer)
        return self._encoders[folder]


@torch.inference_mode()
def _logits(
    backbone: Backbone,
    heads: Mapping[str, Heads],
    outcomes: Mapping[str, Collection[str]],
    texts: Ids,
    pad: int,
    *,
    kept: bool,
) -> dict[str, Logits]:
    """Logits [texts, labels] of each member's outcomes.

    Args:
        heads, outcomes: of each member.
        kept: whether the heads were trained on states that were kept in half precision.
    """
    lengths = np.maximum([len(ids) for ids in texts], 1)
    check_positions(backbone.base, int(lengths.max(initial=1)))
    whole: dict[str, Logits] = {
        key: {
            shape.outcome: np.empty((len(texts), len(shape.labels)), np.float32)
            for shape in heads[key].shapes
            if shape.outcome in outcomes[key]
        }
        for key in heads
    }
    for rows in in_batches(lengths, SCORED_TOKENS):
        arrays = padded([texts[row] for row in rows], pad)
        ids, present = (torch.from_numpy(array).to(backbone.device) for array in arrays)
        states = backbone.states(ids, present)
        states = as_kept(states) if kept else states
        for key, of_member in heads.items():
            for outcome, values in of_member.logits(states, present, outcomes[key]).items():
                whole[key][outcome][rows] = values.float().cpu().numpy()
    return whole


def _checked(member: ScoredMember, logits: Logits) -> dict[str, Scores]:
    """The logits with their calibrations. Raises ModelError where they are not finite."""
    for outcome, values in logits.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"task-adapter/{member.key} gives logits of '{outcome}' that are not finite; train "
                "it with precision: fp32"
            )
    return {name: Scores(values, member.outcomes[name]) for name, values in logits.items()}
