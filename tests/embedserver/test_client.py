"""The client, and the demonstration that uses it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from embedserving import PORTRAITS, embed_serving, models, pixels, portrait, settings
from facemake.embedserver import demo
from facemake.embedserver.client import EmbedClient
from facemake.server.remote_error import RemoteError
from serving import ANNA

pytestmark = pytest.mark.usefixtures("bundled")

GRACE, EILEEN = PORTRAITS / "grace_hopper.jpg", PORTRAITS / "eileen_collins.png"


def test_faces_vectors_and_similarities(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with (
        embed_serving(settings(tokens=True)) as served,
        EmbedClient({"host": "127.0.0.1", "port": served.port, "token": ANNA}) as client,
    ):
        assert client.about()["model"]["dim"] == 128
        found = client.detect(GRACE, str(EILEEN), faces=1)
        assert [one["width"] for one in found] == [512, 512]
        rgb = pixels(portrait())
        expected = models().embed(rgb, [models().find([rgb])[0][0].face])[0]
        for boxes in (None, [[face["box"] for face in found[0]["faces"]], None]):
            one, other = client.embed(portrait(), EILEEN, boxes=boxes)
            vector = one["faces"][0]["vector"]
            np.testing.assert_array_equal(vector, expected)
            assert vector.dtype == np.float32
        said = client.compare(GRACE, EILEEN)
        cosine = float(expected.astype(float) @ other["faces"][0]["vector"].astype(float))
        assert said["similarity"][0][0] == pytest.approx(cosine, abs=1e-12)
        with pytest.raises(RemoteError, match=r"HTTP 422.*picture 1 is not a picture"):
            client.embed(b"none")
        with (
            EmbedClient({"host": served.url}) as stranger,
            pytest.raises(RemoteError, match=r"wants a token.*'token'"),
        ):
            stranger.detect(GRACE)


def test_a_busy_server_is_asked_again():
    with (
        embed_serving(settings(queue=4)) as served,
        EmbedClient({"host": served.url}) as client,
        EmbedClient({"host": served.url}, patience=0) as hasty,
    ):
        served.models.door.clear()
        waiting = [
            threading.Thread(target=served.post, args=("/v1/detect", portrait())) for _ in range(5)
        ]
        waiting[0].start()
        served.until_looking()
        for one in waiting[1:]:
            one.start()
        served.until(4)
        with pytest.raises(RemoteError, match=r"HTTP 503.*4 pictures wait already"):
            hasty.detect(GRACE)
        threading.Timer(0.3, served.models.door.set).start()
        start = time.monotonic()
        assert len(client.detect(GRACE)[0]["faces"]) == 1
        assert time.monotonic() - start > 1, "it was told to come again in a second"
        for one in waiting:
            one.join()


def test_a_server_that_is_none():
    with (
        EmbedClient({"host": "127.0.0.1", "port": 9}) as client,
        pytest.raises(RemoteError, match="facemake serve --embed"),
    ):
        client.about()


def test_the_demonstration(capfd: pytest.CaptureFixture[str]):
    assert demo.main(PORTRAITS) == 0
    said = capfd.readouterr().out
    for words in ("listens on http://127", "two people", "128 numbers", "The server is stopped"):
        assert words in said
