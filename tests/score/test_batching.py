"""Requests that wait go to the models together, and each gets the answer that is its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from tasks.errors import ClinfuseError, StepFailed
from tasks.score.scorer import Asked, Scorer
from tasks.score.server.batching import Answer, Batching, Full
from tests.score.conftest import Members
from tests.score.test_scorer import texts


class Work:
    """Answers when it is let; remembers what it was given together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.let = threading.Event()

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        self.let.wait(10)
        self.batches.append([each.member for each in asked])
        if any(each.member == "faulty" for each in asked):
            raise ValueError("could not convert 'Jane Doe'")
        return [{each.member: None} for each in asked]  # type: ignore[dict-item]


def asked(member: str, texts: int = 1) -> Asked:
    return Asked(["a"] * texts, member)


def test_what_waits_is_scored_together_and_no_more_than_may_be() -> None:
    work = Work()

    async def scenario() -> list[Answer]:
        batching = Batching(work, most_texts=4, wait_seconds=0)
        async with batching.running():
            first = asyncio.create_task(batching.score(asked("first")))
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(batching.score(asked(f"{n}", 2))) for n in range(5)]
            await asyncio.sleep(0.05)
            assert batching.waiting_texts == 10
            work.let.set()
            return await asyncio.gather(first, *others)

    answers = asyncio.run(scenario())
    assert work.batches == [["first"], ["0", "1"], ["2", "3"], ["4"]]
    assert [next(iter(answer)) for answer in answers] == ["first", "0", "1", "2", "3", "4"]


def test_a_request_waits_for_others_a_while() -> None:
    work = Work()
    work.let.set()

    async def scenario() -> None:
        batching = Batching(work, wait_seconds=5)
        async with batching.running():
            first = asyncio.create_task(batching.score(asked("first", 60)))
            await asyncio.sleep(0.05)
            await asyncio.gather(first, batching.score(asked("second", 4)))  # that is a batch

    asyncio.run(scenario())
    assert work.batches == [["first", "second"]]


def test_one_that_fails_fails_alone_and_says_nothing_of_a_text() -> None:
    work = Work()
    work.let.set()

    async def scenario() -> list[Answer | BaseException]:
        batching = Batching(work, wait_seconds=0.05)
        async with batching.running():
            names = ("good", "faulty", "fine")
            waiting = [batching.score(asked(name)) for name in names]
            return await asyncio.gather(*waiting, return_exceptions=True)

    good, faulty, fine = asyncio.run(scenario())
    assert (good, fine) == ({"good": None}, {"fine": None})
    assert isinstance(faulty, StepFailed)
    assert "ValueError at tests/score/test_batching.py" in str(faulty)
    assert "Jane" not in str(faulty)
    assert faulty.__cause__ is None


def test_more_than_may_wait_is_refused_and_what_was_taken_in_is_answered() -> None:
    work = Work()

    async def scenario() -> list[Answer]:
        batching = Batching(work, most_texts=1, wait_seconds=0, most_waiting=3)
        async with batching.running():
            first = asyncio.create_task(batching.score(asked("first")))
            await asyncio.sleep(0.05)
            taken = [first, *(asyncio.create_task(batching.score(asked("x"))) for _ in range(3))]
            await asyncio.sleep(0)
            with pytest.raises(Full):
                await batching.score(asked("late"))
            work.let.set()
        return await asyncio.gather(*taken)  # `running` has ended

    assert len(asyncio.run(scenario())) == 4


def test_requests_of_several_outcomes_get_what_each_gets_alone(members: Members) -> None:
    scorer = Scorer(members.store, device="cpu")
    notes, key = texts(members), members.keys
    together = [
        Asked(notes[:3], key["fused"], ["mortality"]),
        Asked(notes[2:5], key["died"]),
        Asked(notes[4:6], key["fused"], ["diagnoses"]),
        Asked([notes[0], notes[0]], key["triage"]),
        Asked(notes[1:2], key["unfused"]),
        Asked([], key["fused"]),
    ]
    for one, answer in zip(together, scorer.answer(together), strict=True):
        [alone] = Scorer(members.store, device="cpu").answer([one])
        assert answer.keys() == alone.keys()
        assert set(one.outcomes or answer) == answer.keys()
        for outcome, scores in answer.items():
            assert len(scores.logits) == len(one.texts)
            np.testing.assert_allclose(scores.logits, alone[outcome].logits, atol=1e-4)


def test_a_forward_pass_serves_all_that_share_it(members: Members) -> None:
    scorer = Scorer(members.store, device="cpu")
    notes, key = texts(members), members.keys
    together = [Asked(notes[:2], key["died"]), Asked(notes[1:4], key["triage"])]
    scorer.answer(together)
    [backbone] = scorer._held._backbones.values()
    rows: list[int] = []
    trunk = next(iter(backbone.base.model.children()))
    trunk.register_forward_pre_hook(
        lambda _, __, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    scorer.answer(together)
    assert rows == [4]  # the text that both ask for is read once


def test_a_member_that_cannot_be_loaded_fails_its_requests_alone(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(members.store, device="cpu")
    load = scorer._held.load

    def broken(member: object) -> object:
        if getattr(member, "key", "") == members.keys["unfused"]:
            raise ClinfuseError("its adapter is gone")
        return load(member)  # type: ignore[arg-type]

    monkeypatch.setattr(scorer._held, "load", broken)
    notes = texts(members)[:2]

    async def scenario() -> list[Answer | BaseException]:
        batching = Batching(scorer.answer, wait_seconds=0.05)
        async with batching.running():
            waiting = [
                batching.score(Asked(notes, members.keys[name], ["diagnoses"]))
                for name in ("fused", "unfused")
            ]
            return await asyncio.gather(*waiting, return_exceptions=True)

    fused, unfused = asyncio.run(scenario())
    assert isinstance(fused, dict)
    assert fused["diagnoses"].logits.shape[0] == 2
    assert isinstance(unfused, ClinfuseError)
