"""What waits: bounded, refused with a time, taken back when nobody wants it, never lost."""

from __future__ import annotations

import io
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from embedserving import (
    BREAKS,
    Doored,
    EmbedServed,
    embed_serving,
    encoded,
    models,
    pixels,
    portrait,
    settings,
)
from facemake.embedserver.metrics import Metrics
from facemake.embedserver.queue import BusyError, Item, Queue
from facemake.errors import FacemakeError
from facemake.recognition.recognizer import Recognizer
from serving import ANNA, BOB

pytestmark = pytest.mark.usefixtures("bundled")


@contextmanager
def clients():
    with ThreadPoolExecutor(32) as pool:
        yield lambda served, **options: pool.submit(served.post, "/v1/embed", portrait(), **options)


def counted(served: EmbedServed, token: str | None = None) -> dict[tuple[str, ...], float]:
    """Metrics by name and the values of their labels."""
    answer = served.get("/metrics", token)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def all_done(futures: list[Future[requests.Response]]) -> list[int]:
    return [future.result(30).status_code for future in futures]


def test_a_full_queue_refuses_with_a_time_and_recovers():
    with embed_serving(settings(queue=4, pictures=4)) as served, clients() as ask:
        served.models.door.clear()
        first = ask(served)
        served.until_looking()
        waiting = [ask(served) for _ in range(4)]
        served.until(4)
        more = [ask(served) for _ in range(6)]
        for future in more:
            answer = future.result(10)
            assert answer.status_code == 503 and "4 pictures wait already" in answer.text
            assert int(answer.headers["Retry-After"]) >= 1
        assert counted(served)["facemake_queue_pictures",] == 4
        served.models.door.set()
        assert all_done([first, *waiting]) == [200] * 5
        assert ask(served).result(10).status_code == 200
        said = counted(served)
        assert said["facemake_refused_total", "full"] == 6
        assert said["facemake_requests_total", "/v1/embed", "503"] == 6
        assert said["facemake_requests_total", "/v1/embed", "200"] == 6
        assert said["facemake_queue_pictures",] == said["facemake_memory_bytes",] == 0
        assert said["facemake_batch_pictures_count",] == said["facemake_batch_faces_sum",] == 6


def test_the_time_is_what_the_last_pictures_took():
    with embed_serving(settings(queue=4, pictures=4)) as served, clients() as ask:
        served.models.door.clear()
        first = ask(served)
        served.until_looking()
        time.sleep(1.2)
        served.models.door.set()
        assert first.result(10).status_code == 200
        queue = served.service.queue
        # the warm-up was fast, the picture was not: more than a second for two of them
        assert queue.seconds(4) > 2.4
        served.models.door.clear()
        waiting = [ask(served)]
        served.until_looking(2)
        waiting += [ask(served) for _ in range(4)]
        served.until(4)
        refused = served.post("/v1/embed", *[portrait()] * 4)
        # four places are wanted, and one is looked at
        assert int(refused.headers["Retry-After"]) == np.ceil(queue.seconds(4 + 1))
        served.models.door.set()
        assert all_done(waiting) == [200] * 5


def test_who_would_wait_too_long_is_refused_at_once():
    with embed_serving(settings(queue=64, wait_seconds=2.0)) as served, clients() as ask:
        served.models.door.clear()
        first = ask(served)
        served.until_looking()
        served.service.queue._took.extend([(1, 1.2)] * 32)  # as on a slow machine
        second = ask(served)
        served.until(1)
        refused = ask(served).result(10)
        assert refused.status_code == 503 and "within 2 s" in refused.text
        assert refused.headers["Retry-After"] == "1"
        assert second.result(10).status_code == 503, "its turn did not come in time"
        served.models.door.set()
        assert first.result(10).status_code == 200, "that was being looked at"
        said = counted(served)
        assert said["facemake_refused_total", "slow"] == 1
        assert said["facemake_refused_total", "late"] == 1
        assert said["facemake_queue_pictures",] == 0


def test_a_client_that_goes_away_frees_its_places():
    with embed_serving(settings(queue=4)) as served, clients() as ask:
        served.models.door.clear()
        first = ask(served)
        served.until_looking()
        head = (
            f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(portrait())}\r\n\r\n"
        ).encode()
        gone = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(4)]
        for one in gone:
            one.sendall(head + portrait())
        served.until(4)
        for one in gone[:3]:
            one.close()
        served.until(1)
        kept = [ask(served) for _ in range(3)]
        served.until(4)
        gone[3].close()
        served.until(3)
        served.models.door.set()
        assert all_done([first, *kept]) == [200] * 4
        # what nobody wanted was not looked at
        assert len(served.models.batches) == 2 + 1 + 3
        served.until(0)
        assert counted(served)["facemake_memory_bytes",] == 0


def test_pictures_are_looked_at_together_and_answered_each_for_itself():
    whole = pixels(portrait())
    cuts = [np.ascontiguousarray(whole[: 440 + 5 * k]) for k in range(5)]
    breaks = np.full((64, 64, 3), BREAKS, np.uint8)
    what = settings(batch=4, batch_seconds=0.2, queue=16)
    with embed_serving(what) as served, ThreadPoolExecutor(8) as pool:
        served.models.door.clear()
        sent = [cuts[0], *cuts[1:3], breaks, cuts[3]]
        futures = []
        for number, rgb in enumerate(sent):
            futures.append(pool.submit(served.post, "/v1/embed", encoded(rgb)))
            if number == 0:
                served.until_looking()
            else:
                served.until(number)
        served.models.door.set()
        answers = [future.result(30) for future in futures]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 500, 200]
        assert answers[3].json() == {"detail": "a fault of the server; its log has more"}
        assert answers[3].headers["Cache-Control"] == "no-store", "as of any answer"
        assert counted(served)["facemake_requests_total", "/v1/embed", "500"] == 1
        # the warm-up, the first alone, four together, and those again that broke together
        assert served.models.batches[2:] == [1, 4, 1, 1, 1, 1]
        for rgb, answer in zip(sent, answers, strict=True):
            if answer.status_code == 200:
                vector = np.array(answer.json()["pictures"][0]["faces"][0]["vector"], np.float32)
                found = models().find([rgb])[0]
                np.testing.assert_array_equal(vector, models().embed(rgb, [found[0].face])[0])
        assert counted(served)["facemake_batch_pictures_sum",] == 5


def a_queue(make: Callable[[], Recognizer]) -> Queue:
    return Queue(make, settings().limits, lambda limit: limit, Metrics())


def test_a_stop_answers_all_though_somebody_goes_away_meanwhile():
    models = Doored()
    models.door.clear()
    queue = a_queue(lambda: models)
    threading.Timer(0.5, models.door.set).start()  # the warm-up
    queue.start()
    models.door.clear()
    items = [Item(np.zeros((20, 20, 3), np.uint8)) for _ in range(4)]
    places = queue.places(4, "anna")
    places.put(items[:1])
    while len(models.batches) < 3:
        time.sleep(0.005)
    places.put(items[1:])
    items[1].future.cancel()
    stopped = threading.Thread(target=queue.stop, args=(0.1,))
    stopped.start()
    for item in items[2:]:
        with pytest.raises(BusyError, match="being stopped"):
            item.future.result(10)
    models.door.set()
    assert items[0].future.result(10).faces == []
    stopped.join(10)
    assert not stopped.is_alive()


def test_a_start_that_is_interrupted_ends():
    models = Doored()

    def make() -> Recognizer:
        time.sleep(0.3)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.3)
        return models

    queue = a_queue(make)
    with pytest.raises(KeyboardInterrupt):
        queue.start()
    assert not queue.works


def test_a_thread_that_ends_has_ended_for_who_asks_meanwhile():
    """It is there for a moment after the last answer, which says to ask nobody else."""
    models = Doored()
    queue = a_queue(lambda: models)
    queue.start()
    end = queue._close
    asked = []

    def close() -> None:
        end()
        asked.append((queue._thread.is_alive(), queue.works))

    queue._close = close  # type: ignore[method-assign]
    queue.stop(10)
    assert asked[0] == (True, False)  # by the thread itself


def test_how_long_it_takes_may_be_asked_while_it_changes():
    queue = a_queue(Doored)
    end = threading.Event()

    def change() -> None:
        while not end.is_set():
            queue._count([], 0.1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(3000):
            assert queue.seconds(1) >= 0
    finally:
        end.set()
        thread.join()
        sys.setswitchinterval(before)


def test_a_stop_answers_what_waits_and_takes_no_more():
    with embed_serving(settings()) as served, clients() as ask:
        served.models.door.clear()
        waiting = [ask(served)]
        served.until_looking()
        waiting += [ask(served) for _ in range(3)]
        served.until(3)
        held = requests.Session()  # a connection that is there already
        assert held.get(served.url + "/health", timeout=9).json() == {"status": "ok", "queued": 3}
        served.service.stopping = True  # as a signal has it
        answer = ask(served).result(10)
        assert answer.status_code == 503 and "being stopped" in answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert held.get(served.url + "/health", timeout=9).status_code == 503
        stopped = threading.Thread(target=served.stop)
        stopped.start()
        time.sleep(0.2)
        assert stopped.is_alive()
        served.models.door.set()
        assert all_done(waiting) == [200] * 4
        stopped.join(20)
        assert not stopped.is_alive() and not served.service.queue.works
        served.stop = lambda: None  # type: ignore[method-assign]


def test_what_still_waits_at_the_end_of_a_stop_is_answered_too():
    with embed_serving(settings(wait_seconds=20)) as served, clients() as ask:
        served.models.door.clear()
        waiting = [ask(served)]
        served.until_looking()
        waiting += [ask(served) for _ in range(2)]
        served.until(2)
        queue = served.service.queue
        threading.Timer(0.6, served.models.door.set).start()
        queue.stop(0.2)  # shorter than the door is shut
        assert all_done(waiting) == [200, 503, 503]


def test_memory_is_bounded():
    wide = encoded(np.zeros((1000, 1500, 3), np.uint8))  # 4.5 MB of pixels, few bytes
    with embed_serving(settings(memory_bytes=12_000_000)) as served, clients() as ask:
        served.models.door.clear()
        first = ask(served)
        served.until_looking()
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(served.post, "/v1/detect", wide) for _ in range(3)]
            refused = next(f for f in iter_done(futures) if f.result().status_code != 200)
            assert refused.result().status_code == 503 and "memory" in refused.result().text
            assert int(refused.result().headers["Retry-After"]) >= 1
            served.until(2)
            served.models.door.set()
            assert sorted(all_done(futures)) == [200, 200, 503]
        assert first.result(10).status_code == 200
        said = counted(served)
        assert said["facemake_refused_total", "memory"] == 1
        assert said["facemake_memory_bytes",] == 0


def iter_done(futures: list[Any]):
    from concurrent.futures import as_completed

    return as_completed(futures, timeout=20)


def test_limits_that_leave_no_room_for_each_other():
    for limits, words in (
        ({"queue": 3}, "--max-waiting"),
        ({"memory_bytes": 6_000_000}, "--max-memory"),
        ({"queue": 7, "tokens": True, "pictures": 5}, "--max-waiting"),
    ):
        with pytest.raises(FacemakeError, match=words):
            settings(**limits).check()


def test_nobody_has_more_than_a_share_and_nobody_gets_in_without_a_token():
    with embed_serving(settings(tokens=True, queue=8)) as served, clients() as ask:
        for token in (None, "x" * 30):
            for path in ("/", "/metrics", "/openapi.json", "/v1/embed"):
                assert served.get(path, token).status_code == 401
            answer = served.post("/v1/embed", portrait(), token=token)
            assert answer.status_code == 401 and "Bearer" in answer.headers["WWW-Authenticate"]
        assert served.get("/health").json() == {"status": "ok", "queued": None}
        served.models.door.clear()
        waiting = [ask(served, token=ANNA)]
        served.until_looking()
        waiting += [ask(served, token=ANNA) for _ in range(4)]
        served.until(4)
        assert ask(served, token=ANNA).result(10).status_code == 503
        waiting += [ask(served, token=BOB) for _ in range(4)]
        served.until(8)
        served.models.door.set()
        assert all_done(waiting) == [200] * 9
        assert counted(served, ANNA)["facemake_requests_total", "/v1/embed", "401"] >= 4


def test_pages_of_browsers_are_not_answered():
    with embed_serving(settings()) as served:
        for headers in ({"Host": "evil.example.org"}, {"Origin": "http://evil.example.org"}):
            answer = requests.post(served.url + "/v1/embed", headers=headers, timeout=9)
            assert answer.status_code == 403
        answer = served.get("/health")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_of_a_picture_is_logged_or_laid_down(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    import tempfile

    made: list[Any] = []
    for name in ("SpooledTemporaryFile", "NamedTemporaryFile", "TemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, lambda *a, **k: made.append(a) or io.BytesIO())
    caplog.set_level(logging.DEBUG)
    with embed_serving(settings()) as served:
        rgb = pixels(portrait())
        big = encoded(np.concatenate([rgb, rgb]))  # more than a form's parser keeps in memory
        for data in (big, b"secret", portrait()[:9000], b"\x89PNG secret"):
            served.post("/v1/embed", data)
        files = [("image", ("secret.jpg", portrait()))]
        requests.post(served.url + "/v1/embed", files=files, timeout=30)
        # of a fault there is its trace
        served.post("/v1/embed", encoded(np.full((9, 9, 3), BREAKS, np.uint8)))
    ours = [one for one in caplog.records if not one.name.startswith(("urllib3", "PIL"))]
    assert "secret" not in "".join(one.getMessage() for one in ours) and not made
    assert any("a picture of (9, 9) pixels" in one.getMessage() for one in ours)


def test_requests_that_never_end_and_those_that_are_too_long():
    with embed_serving(settings(arrive_seconds=1.5)) as served:
        head = b"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
        start = time.monotonic()
        for body, status in (
            (b"Content-Length: 1000\r\n\r\nabc", b"408"),
            (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"408"),
            (b"Content-Length: 4000001\r\n\r\n", b"413"),
            (b"Transfer-Encoding: chunked\r\n\r\n" + b"f4240\r\n" + bytes(10**6), b"413"),
        ):
            if status == b"413" and b"chunked" in body:
                body += (b"\r\nf4240\r\n" + bytes(10**6)) * 4
            with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
                with suppress(OSError):
                    connection.sendall(head + body)
                assert connection.recv(65536).split()[1] == status, body[:60]
        assert time.monotonic() - start < 9
        assert counted(served)["facemake_memory_bytes",] == 0
        assert served.post("/v1/embed", portrait()).status_code == 200


def test_without_the_models_thread_nobody_waits(monkeypatch: pytest.MonkeyPatch):
    with embed_serving(settings(wait_seconds=20)) as served, clients() as ask:
        served.models.door.clear()
        first = ask(served)
        served.until_looking()
        waiting = [ask(served) for _ in range(2)]
        served.until(2)

        def ends(*_: Any) -> None:
            raise SystemExit

        monkeypatch.setattr(served.service.queue, "_count", ends)
        served.models.door.set()
        start = time.monotonic()
        assert all_done(waiting) == [503, 503]
        assert served.get("/health").status_code == ask(served).result(10).status_code == 503
        assert time.monotonic() - start < 10
        assert first.result(30).status_code == 503, "it was being looked at"
