"""`facemake serve --embed` at saturation against its models in a bare loop over the same pictures.

The server is a process of its own, clients are threads of this one: on a machine of two cores they
take from each other what they need, so the ratio there is a lower bound. The loop has the pictures
decoded; the server reads, decodes and answers besides. Both take turns. Where the machine has other
work the ratio of CPU times says more: that is all that the server costs, its clients left out. Then
more ask than may wait, and none of them obeys Retry-After: all have to be answered all the same, in
the stated time.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import av
import numpy as np
import psutil
import requests
from PIL import Image

from facemake.embedserver.choice import Backends
from facemake.embedserver.settings import Limits
from facemake.recognition.recognizer import Recognizer

_WAITING = 16
_CLIENTS = 8
_TOO_MANY = 40


@dataclass
class Asked:
    """What clients saw.

    Attributes:
        answers: status -> how many; 0: no answer at all.
        seconds: of each answer that is one.
        refused: seconds of each other.
        wall: of all of them together.
    """

    answers: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    wall: float = 0.0


def run(clip: Path, runs: int, pictures: int = 32, overload: float = 6.0) -> None:
    """Print throughput as a part of the loop's, latencies against their bound, and what was lost.

    Args:
        clip: whose frames are the pictures.
        runs: turns.
        pictures: of a turn.
        overload: seconds for which too many ask.
    """
    if missing := [name for name in ("fastapi", "prometheus_client") if not find_spec(name)]:
        print(f"embedserver: not measured: {', '.join(missing)} is not installed: make serve")
        return
    with av.open(clip) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, pictures).astype(int)]
    sent = [_jpeg(frame) for frame in frames]
    decoded = [np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in sent]
    bound = Limits().wait_seconds
    ratios, shares, rates, asked = [], [], [], Asked()
    with Backends().make() as models, _serving() as (url, process):
        _loop(models, decoded[:2])
        _ask(url, sent[:2], _CLIENTS)
        for turn in range(runs):  # who goes first takes turns, too
            loops = [_loop(models, decoded)] if turn % 2 == 0 else []
            before = _cpu(process)
            served = _ask(url, sent, _CLIENTS)
            cost = _cpu(process) - before
            ((wall, cpu),) = loops or [_loop(models, decoded)]
            ratios.append(wall / served.wall)
            shares.append(cpu / cost)
            rates.append(pictures / served.wall)
            asked.answers += served.answers
            asked.seconds += served.seconds
        over = _ask(url, sent, _TOO_MANY, overload)
    print(
        f"embedserver: {median(ratios):.2f} of its models' speed in a bare loop (from "
        f"{min(ratios):.2f} to {max(ratios):.2f}, {runs} turns of {pictures} pictures of "
        f"{frames[0].shape[1]} x {frames[0].shape[0]}, {_CLIENTS} clients), "
        f"{median(rates):.1f} pictures a second; of CPU time {median(shares):.2f} "
        f"(from {min(shares):.2f} to {max(shares):.2f})"
    )
    print(
        f"  {_times(asked.seconds)}, bound {bound:g} s and a picture; answers {dict(asked.answers)}"
    )
    busy = over.answers[503]
    lost = sum(n for status, n in over.answers.items() if status not in (200, 503))
    print(
        f"  {_TOO_MANY} clients where {_WAITING} pictures may wait: {over.answers[200]} answered "
        f"({_times(over.seconds)}; {over.answers[200] / over.wall:.1f} a second), {busy} refused "
        f"({_times(over.refused)}), {lost} lost"
    )


def _jpeg(frame: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=92)
    return target.getvalue()


@contextmanager
def _serving() -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "facemake", "serve", "--embed", "--port", "0"]
    command += ["--max-waiting", str(_WAITING)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"listens on (http://\S+)", server.stdout.readline())
            assert found, "`facemake serve --embed` did not start"
            yield found[1], psutil.Process(server.pid)
        finally:
            server.terminate()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _loop(models: Recognizer, pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """Seconds by the clock and of CPU."""
    start, cpu = time.perf_counter(), time.process_time()
    for rgb in pictures:
        (faces,) = models.find([rgb])
        models.embed(rgb, [face.face for face in faces])
    return time.perf_counter() - start, time.process_time() - cpu


def _ask(url: str, pictures: Sequence[bytes], clients: int, seconds: float | None = None) -> Asked:
    """Ask for each picture once, or for `seconds` one after the other."""
    asked, lock, turns = Asked(), threading.Lock(), iter(range(10**9))
    until = time.perf_counter() + (seconds or 3600)
    most = len(pictures) if seconds is None else 10**9

    def client() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while True:
                with lock:
                    turn = next(turns)
                if turn >= most or time.perf_counter() > until:
                    return
                start = time.perf_counter()
                try:
                    answer = session.post(
                        f"{url}/v1/embed",
                        data=pictures[turn % len(pictures)],
                        headers={"Content-Type": "image/jpeg"},
                        timeout=60,
                    )
                    status = answer.status_code
                    if status == 200 and not answer.json()["pictures"]:
                        status = 0
                    if status == 503 and "Retry-After" not in answer.headers:
                        status = 0
                except requests.RequestException:
                    status = 0
                took = time.perf_counter() - start
                with lock:
                    asked.answers[status] += 1
                    (asked.seconds if status == 200 else asked.refused).append(took)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked.wall = time.perf_counter() - start
    return asked


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    middle, late = np.percentile(seconds, (50, 99))
    return f"median {middle:.3f} s, 99th percentile {late:.3f} s"
