"""Score texts with trained members: a base is loaded once, what members add to it is switched.

    scorer = Scorer("build/store")
    scores = scorer.score(texts, ["26acae84", "5cacba09"])
    scores["26acae84"]["mortality"].probabilities  # [texts, labels]

Members that add the same LoRAs to one base, as all heads on a frozen trunk do, share the forward
pass; others share the base, and the tokens of the texts. Adapters and heads that have not been used
for longest make room for new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.data.encoder import Encoder
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError, ModelError
from tasks.finetune.encode import cut
from tasks.model.score import Logits
from tasks.score.backbone import BaseKey
from tasks.score.calibration import Calibration, Labels
from tasks.score.held import Held
from tasks.score.member import ScoredMember
from tasks.score.parties import Ids, Party, score_together
from tasks.store import Store


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


@dataclass(frozen=True)
class Asked:
    """Texts that one member is to score."""

    texts: Sequence[str]
    member: str  # its key, as `Scorer.member` takes it
    outcomes: Collection[str] = ()  # of those that it has; empty: all


class Scorer:
    """Trained members of a store on the bases that they share.

    Not to be called by two threads at once: a base has one set of adapters switched on.
    """

    def __init__(
        self,
        store: Store | Path | str,
        *,
        device: str | None = None,
        most_members: int = 32,
        most_bases: int = 2,
        base: Path | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            store: or its folder, which is only read.
            device: where models compute; None: the GPU, if there is one.
            most_members: so many members' adapters and heads are held at once.
            most_bases: so many bases are. A member that is no sum of LoRAs has one for itself.
            base: where the base lies, if it is no artifact and not where it was in training.
        """
        opened = store if isinstance(store, Store) else Store(Path(store), read_only=True)
        self.store, self.given_base = opened, base
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
        keys = list(dict.fromkeys(members))
        told = self.answer([Asked(texts, key, outcomes) for key in keys])
        return dict(zip(keys, told, strict=True))

    def answer(self, asked: Sequence[Asked]) -> list[dict[str, Scores]]:
        """The scores that each asks for, by outcome: together, where members share a forward pass.

        A text that several ask for is read once. Raises what `score` does.
        """
        members = [self.member(each.member) for each in asked]
        answers: list[dict[str, Scores]] = [{} for _ in asked]
        tokens: dict[Path, dict[str, NDArray[np.int32]]] = {}
        for sharing in self._sharing({member.key: member for member in members}):
            mine = [index for index, member in enumerate(members) if member.key in sharing]
            logits = self._together([(members[index], asked[index]) for index in mine], tokens)
            for index, of_one in zip(mine, logits, strict=True):
                answers[index] = _checked(members[index], of_one)
        return answers

    def _together(
        self,
        asked: Sequence[tuple[ScoredMember, Asked]],
        tokens: dict[Path, dict[str, NDArray[np.int32]]],
    ) -> list[Logits]:
        """The logits that each asks for, of members that share a forward pass.

        Args:
            tokens: of texts, by the tokenizer; new ones are added.
        """
        members = {member.key: member for member, _ in asked}
        first = asked[0][0]
        texts = list(dict.fromkeys(text for _, each in asked for text in each.texts))
        ids = self._encoded(texts, first, tokens)
        for member in members.values():
            self._held.touch(member)
        loaded = {key: self._held.load(member) for key, member in members.items()}
        backbone = loaded[first.key][0]
        backbone.switch_to(first.parts or ())
        row_of = {text: row for row, text in enumerate(texts)}
        rows = [np.array([row_of[text] for text in each.texts], np.int64) for _, each in asked]
        parties: dict[tuple[str, tuple[str, ...]], Party] = {}
        party_of = []
        for (member, each), mine in zip(asked, rows, strict=True):
            names = tuple(name for name in member.outcomes if name in (each.outcomes or (name,)))
            if (member.key, names) not in parties:
                parties[member.key, names] = Party(loaded[member.key][1], names, len(texts))
            party_of.append(parties[member.key, names])
            party_of[-1].wanted[mine] = True
        pad = self._encoder(first)[0].pad
        score_together(backbone, list(parties.values()), ids, pad, kept=first.job.frozen)
        return [party.of(mine) for party, mine in zip(party_of, rows, strict=True)]

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
        self,
        texts: Sequence[str],
        member: ScoredMember,
        known: dict[Path, dict[str, NDArray[np.int32]]],
    ) -> Ids:
        """The token ids of the texts as that member reads them.

        Args:
            known: whole texts' ids, by the tokenizer, to which these are added.
        """
        job = member.job
        if job.max_tokens is None:
            raise ConfigError(
                f"it is not known how many tokens task-adapter/{member.key} reads, since its "
                "encoded notes are gone; run its configuration again"
            )
        tokenizer, encoder = self._encoder(member)
        last = max(job.tail_tokens, len(tokenizer.frame[1]))
        whole = known.setdefault(job.tokenizer, {})
        new = [text for text in dict.fromkeys(texts) if text not in whole]
        whole.update(zip(new, encoder.encode(new), strict=True))
        return [cut(whole[text], job.max_tokens, last) for text in texts]

    def _encoder(self, member: ScoredMember) -> tuple[LoadedTokenizer, Encoder]:
        folder = member.job.tokenizer
        if folder not in self._encoders:
            loaded = LoadedTokenizer.load(folder)
            self._encoders[folder] = loaded, Encoder(loaded.tokenizer)
        return self._encoders[folder]


def _checked(member: ScoredMember, logits: Logits) -> dict[str, Scores]:
    """The logits with their calibrations. Raises ModelError where they are not finite."""
    for outcome, values in logits.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"task-adapter/{member.key} gives logits of '{outcome}' that are not finite; train "
                "it with precision: fp32"
            )
    return {name: Scores(values, member.outcomes[name]) for name, values in logits.items()}
