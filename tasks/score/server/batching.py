"""Requests that wait are scored together: a queue of bounded length before one working thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tasks.errors import ClinfuseError
from tasks.guard import guarded
from tasks.score.scorer import Asked, Scores

Answer = dict[str, Scores]  # by outcome
Work = Callable[[Sequence[Asked]], list[Answer]]


class Full(Exception):
    """More texts wait than may."""


@dataclass
class _Waiting:
    asked: Asked
    since: float  # of the loop's clock, seconds
    answer: asyncio.Future[Answer] = field(default_factory=asyncio.Future)


class Batching:
    """Collects requests while the ones before are scored, and scores them in one go."""

    def __init__(
        self,
        work: Work,
        *,
        most_texts: int = 64,
        wait_seconds: float = 0.002,
        most_waiting: int = 2048,
        batched: Callable[[int], None] = lambda texts: None,
    ) -> None:
        """Nothing waits yet.

        Args:
            work: what scores; called in one thread at a time.
            most_texts: of a batch, unless a single request has more.
            wait_seconds: so long does a request wait for others where nothing is being scored.
            most_waiting: texts; a request that comes then is refused.
            batched: is told how many texts each batch has.
        """
        self.work, self.batched = work, batched
        self.most_texts, self.wait_seconds = most_texts, wait_seconds
        self.most_waiting = most_waiting
        self.waiting_texts = 0
        self._waiting: deque[_Waiting] = deque()
        self._came = asyncio.Event()

    async def score(self, asked: Asked) -> Answer:
        """What `work` says of this request.

        Raises Full, or the ClinfuseError of this request alone.
        """
        if self.waiting_texts + len(asked.texts) > self.most_waiting:
            raise Full
        waiting = _Waiting(asked, asyncio.get_running_loop().time())
        self._waiting.append(waiting)
        self.waiting_texts += len(asked.texts)
        self._came.set()
        return await waiting.answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Score what comes; at the end all that waits has been answered."""
        with ThreadPoolExecutor(1, thread_name_prefix="scoring") as thread:
            task = asyncio.create_task(self._run(thread))
            try:
                yield
                while self._waiting and not task.done():
                    await asyncio.sleep(0.01)
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._until_due(loop)
            batch = self._take()
            asked = [waiting.asked for waiting in batch]
            answers = await loop.run_in_executor(thread, self._answers, asked)
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.answer.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, ClinfuseError):
                    waiting.answer.set_exception(answer)
                else:
                    waiting.answer.set_result(answer)

    async def _until_due(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a first request, and then a little for others."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        due = self._waiting[0].since + self.wait_seconds
        while self.waiting_texts < self.most_texts and (left := due - loop.time()) > 0:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        """The requests of the next batch, in the order in which they came."""
        batch: list[_Waiting] = []
        texts = 0
        while self._waiting:
            more = len(self._waiting[0].asked.texts)
            if batch and texts + more > self.most_texts:
                break
            batch.append(self._waiting.popleft())
            texts += more
        self.waiting_texts -= texts
        self.batched(texts)
        return batch

    def _answers(self, asked: Sequence[Asked]) -> list[Answer | ClinfuseError]:
        """The answer to each; if they fail together, each is tried alone."""
        try:
            return list(guarded("serve", lambda: self.work(asked)))
        except ClinfuseError as error:
            if len(asked) == 1:
                return [error]
        return [self._answers([each])[0] for each in asked]
