"""A typed POST in FastAPI, with the checks that the gateway makes: key, rate, trace, request id, counters.

    fast.py PORT KEY

It takes none of ours; what it checks is written as its documentation shows it, with no detour.
"""

import hashlib
import hmac
import secrets
import sys
import time
from collections import deque

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from prometheus_client import Counter, Histogram
from pydantic import BaseModel

KEY = sys.argv[2]
SALT = secrets.token_bytes(16)
CALLS = Counter("calls", "Calls", ("path", "status"))
TIMES = Histogram("seconds", "Time of a call")
SPANS: deque[tuple[str, str, str, float]] = deque(maxlen=20_000)


def digest(key: str) -> bytes:
    """Return the salted hash of a key."""
    return hashlib.blake2b(key.encode(), salt=SALT, digest_size=32).digest()


class Bucket:
    """A token bucket."""

    def __init__(self, rate: float, burst: float) -> None:
        """Begin full."""
        self.rate, self.burst, self.level, self.at = rate, burst, burst, time.monotonic()

    def take(self) -> bool:
        """Return whether there was one."""
        now = time.monotonic()
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


KNOWN = {"bench": (digest(KEY), Bucket(1e6, 1e6))}
TENANTS = {"bench": Bucket(1e6, 1e6)}


class Features(BaseModel):
    """What is asked about."""

    id: str
    f0: float
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float
    f6: float
    f7: float
    f8: float
    f9: float
    f10: float
    f11: float


class Question(BaseModel):
    """The body."""

    features: Features


class Score(BaseModel):
    """What it answers."""

    probability: float
    version: str


async def caller(x_api_key: str = Header()) -> str:
    """Return who asks, within its rate."""
    kept, bucket = KNOWN["bench"]
    if not hmac.compare_digest(digest(x_api_key), kept):
        raise HTTPException(401)
    if not (bucket.take() and TENANTS["bench"].take()):
        raise HTTPException(429, headers={"retry-after": "1"})
    return "bench"


async def traced(
    response: Response, traceparent: str = Header(""), x_request_id: str = Header("")
) -> tuple[str, str]:
    """Return the trace and the span of this request, and send them back."""
    parts = traceparent.split("-")
    trace = parts[1] if len(parts) == 4 else secrets.token_hex(16)
    span = secrets.token_hex(8)
    response.headers["traceparent"] = f"00-{trace}-{span}-{parts[3] if len(parts) == 4 else '00'}"
    response.headers["x-request-id"] = x_request_id or secrets.token_hex(16)
    return trace, span


app = FastAPI()


@app.post("/Model/predict")
async def predict(
    asked: Question, who: str = Depends(caller), trace: tuple[str, str] = Depends(traced)
) -> Score:
    """Return a score."""
    begun = time.perf_counter()
    answer = Score(probability=asked.features.f0 + asked.features.f11, version="v1")
    spent = time.perf_counter() - begun
    CALLS.labels("/Model/predict", "200").inc()
    TIMES.observe(spent)
    SPANS.append((*trace, who, spent))
    return answer


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, http="httptools",
        loop="uvloop",
    )  # fmt: skip
