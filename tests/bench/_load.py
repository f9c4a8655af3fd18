"""Put a server under load: clients that ask again as soon as they are answered.

python -m tests.bench._load URL NOTES SECONDS REQUESTS MODEL OUTCOME...

NOTES is a JSON list of texts. It ends after so many seconds and so many requests, and prints JSON:
the requests, the seconds, those that failed, the latencies' percentiles in ms, and its own CPU.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CLIENTS = 16


@dataclass
class Load:
    """What the clients share."""

    host: str
    port: int
    bodies: list[bytes]
    seconds: float
    requests: int
    began: float = field(default_factory=time.perf_counter)
    latencies: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def over(self) -> bool:
        long_enough = time.perf_counter() - self.began >= self.seconds
        return long_enough and len(self.latencies) >= self.requests

    async def client(self, seed: int) -> None:
        chance = random.Random(seed)
        reader, writer = await asyncio.open_connection(self.host, self.port)
        while not self.over:
            body = chance.choice(self.bodies)
            asked = time.perf_counter()
            head = f"POST /v1/predict HTTP/1.1\r\nHost: {self.host}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r")[0]
            content = await reader.readexactly(int(length))
            self.latencies.append(time.perf_counter() - asked)
            if not answer.startswith(b"HTTP/1.1 200") or b"labels" not in content:
                self.failures += 1
        writer.close()


def main() -> None:
    url, notes, seconds, requests, model, *outcomes = sys.argv[1:]
    texts = json.loads(Path(notes).read_text())
    bodies = [
        json.dumps({"texts": [text], "outcomes": [outcome]} | ({"model": model} if model else {}))
        for text in texts
        for outcome in outcomes
    ]
    host, _, port = url.removeprefix("http://").partition(":")
    encoded = [body.encode() for body in bodies]
    load = Load(host, int(port), encoded, float(seconds), int(requests))

    async def all_clients() -> None:
        await asyncio.gather(*(load.client(seed) for seed in range(CLIENTS)))

    asyncio.run(all_clients())
    elapsed = time.perf_counter() - load.began
    median, high = np.percentile(load.latencies, [50, 95]) * 1000
    told = {"requests": len(load.latencies), "seconds": elapsed, "failures": load.failures}
    used = os.times()
    print(json.dumps(told | {"p50": median, "p95": high, "cpu": used.user + used.system}))


if __name__ == "__main__":
    main()
