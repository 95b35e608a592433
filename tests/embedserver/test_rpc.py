"""The same over gRPC: the same queue, the same answers, refusals in gRPC's words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import ROOT
from embedserving import EmbedServed, embed_serving, encoded, portrait, settings, two_faces
from facemake.embedserver import rpc
from facemake.embedserver.protocol import embed_pb2, embed_pb2_grpc
from facemake.embedserver.settings import Settings
from serving import ANNA

pytestmark = pytest.mark.usefixtures("bundled")


@contextmanager
def calling(what: Settings) -> Iterator[tuple[EmbedServed, grpc.Channel]]:
    ports: list[int] = []
    with embed_serving(
        what, beside=lambda service: rpc.serving(service, "127.0.0.1:0", None, ports.append)
    ) as served:
        # pictures are larger than a client takes by itself
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{ports[0]}", options) as channel:
            yield served, channel


@pytest.fixture(scope="module")
def server(bundled) -> Iterator[tuple[EmbedServed, embed_pb2_grpc.FacesStub]]:
    with calling(settings()) as (served, channel):
        yield served, embed_pb2_grpc.FacesStub(channel)


def request(*images: bytes, **options: object) -> embed_pb2.EmbedRequest:
    return embed_pb2.EmbedRequest(images=[embed_pb2.Image(data=one) for one in images], **options)


def refusal(call, *arguments, **options) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=20, **options)
    return error.value


def test_the_answers_are_those_of_http(server):
    served, stub = server
    data = [portrait(), two_faces()]
    theirs = served.post("/v1/embed?flip=1", *data).json()
    ours = stub.Embed(request(*data, flip=True), timeout=30)
    said = theirs["model"]
    for name in ("detector", "embedder", "chip", "dim", "same_person", "version"):
        assert getattr(ours.model, name) == said[name]
    for files in ("detector_models", "embedder_models"):
        assert [file.sha256 for file in getattr(ours.model, files)] == [
            file["sha256"] for file in said[files]
        ]
    for one, other in zip(ours.pictures, theirs["pictures"], strict=True):
        assert (one.width, one.height) == (other["width"], other["height"])
        for face, that in zip(one.faces, other["faces"], strict=True):
            assert [face.box.x1, face.box.y1, face.box.x2, face.box.y2] == that["box"]
            assert list(face.vector) == that["vector"]
            assert face.score == np.float32(that["score"])
            points = [None if np.isnan(p.x) else [p.x, p.y] for p in face.points]
            assert points == that["points"]
    alone = stub.Detect(embed_pb2.DetectRequest(images=data, faces=1), timeout=30)
    assert [len(one.faces) for one in alone.pictures] == [1, 1]
    assert not alone.pictures[0].faces[0].vector


def test_faces_that_are_known(server):
    _, stub = server
    found = stub.Detect(embed_pb2.DetectRequest(images=[portrait()]), timeout=30)
    face = found.pictures[0].faces[0]
    region = embed_pb2.Region(box=face.box, points=face.points)
    whole = stub.Embed(request(portrait()), timeout=30)
    image = embed_pb2.Image(data=portrait(), regions=[region])
    given = stub.Embed(embed_pb2.EmbedRequest(images=[image]), timeout=30)
    assert given.pictures[0].faces[0].vector == whole.pictures[0].faces[0].vector
    assert np.isnan(given.pictures[0].faces[0].score)
    for region, words in (
        (embed_pb2.Region(box=face.box, points=face.points[:2]), "none or five"),
        (embed_pb2.Region(box=embed_pb2.Box(x1=float("nan"))), "finite"),
        (embed_pb2.Region(), "empty"),
        (embed_pb2.Region(box=embed_pb2.Box(x1=-9, y1=-9, x2=-2, y2=-2)), "outside"),
    ):
        image = embed_pb2.Image(data=portrait(), regions=[region])
        error = refusal(stub.Embed, embed_pb2.EmbedRequest(images=[image]))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and words in error.details()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "1 to 4 pictures"),
        ([b"x"] * 5, "1 to 4 pictures"),
        ([b"x"], "is not a picture"),
        ([b""], "empty"),
    ],
)
def test_requests_that_are_none(server, images: list[bytes], words: str):
    _, stub = server
    for call, made in (
        (stub.Embed, request(*images)),
        (stub.Detect, embed_pb2.DetectRequest(images=images)),
    ):
        error = refusal(call, made)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and words in error.details()


def test_sizes_are_bounded(server):
    _, stub = server
    error = refusal(stub.Embed, request(bytes(2_100_000)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and "2000000" in error.details()
    error = refusal(stub.Embed, request(bytes(4_100_000)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_full_queue_and_a_stop_say_when_to_come_again():
    with calling(settings(queue=4)) as (served, channel):
        stub = embed_pb2_grpc.FacesStub(channel)
        served.models.door.clear()
        waiting = [stub.Embed.future(request(portrait()), timeout=30)]
        served.until_looking()
        waiting += [stub.Embed.future(request(portrait()), timeout=30) for _ in range(4)]
        served.until(4)
        error = refusal(stub.Embed, request(portrait()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = dict(error.trailing_metadata())
        assert int(told["retry-after"]) >= 1
        assert int(told["grpc-retry-pushback-ms"]) == 1000 * int(told["retry-after"])
        assert served.post("/v1/embed", portrait()).status_code == 503, "the same queue"
        # who goes away or waits no longer frees the place
        waiting.pop().cancel()
        served.until(3)
        error = refusal_in(stub, 0.3)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        served.until(3)
        served.service.stopping = True
        error = refusal(stub.Embed, request(portrait()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE and "stopped" in error.details()
        served.models.door.set()
        assert [len(one.result().pictures) for one in waiting] == [1] * 4
        said = served.get("/metrics").text
        path = "/facemake.embed.v1.Faces/Embed"
        assert f'requests_total{{path="{path}",status="RESOURCE_EXHAUSTED"}} 1.0' in said
        assert f'requests_total{{path="{path}",status="OK"}} 4.0' in said
        assert "facemake_memory_bytes 0.0" in said


def refusal_in(stub: embed_pb2_grpc.FacesStub, seconds: float) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        stub.Embed(request(portrait()), timeout=seconds)
    return error.value


def test_a_fault_is_answered():
    from embedserving import BREAKS

    with calling(settings()) as (_, channel):
        stub = embed_pb2_grpc.FacesStub(channel)
        error = refusal(stub.Embed, request(encoded(np.full((9, 9, 3), BREAKS, np.uint8))))
        assert error.code() is grpc.StatusCode.INTERNAL and "its log" in error.details()


def test_a_token_is_metadata_and_health_wants_none():
    with calling(settings(tokens=True)) as (_, channel):
        stub = embed_pb2_grpc.FacesStub(channel)
        for metadata in (None, [("authorization", "Bearer x")], [("authorization", ANNA)]):
            error = refusal(stub.Embed, request(portrait()), metadata=metadata)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        bearer = [("authorization", f"Bearer {ANNA}")]
        assert stub.Embed(request(portrait()), metadata=bearer, timeout=30).pictures
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "facemake.embed.v1.Faces"):
            asked = health_pb2.HealthCheckRequest(service=name)
            assert health.Check(asked, timeout=9).status == health_pb2.HealthCheckResponse.SERVING
        error = refusal(health.Check, health_pb2.HealthCheckRequest(service="none"))
        assert error.code() is grpc.StatusCode.NOT_FOUND


def test_calls_without_a_message_keep_nobody_out():
    what = settings(tokens=True, request_bytes=16_000_000, arrive_seconds=1.0)
    with calling(what) as (served, channel):
        most = served.service.limits.memory_bytes // served.service.limits.request_bytes
        end = threading.Event()

        def never() -> Iterator[bytes]:
            end.wait(30)
            yield from ()

        def held(path: str, **options: object) -> list[grpc.Future]:
            call = channel.stream_unary(path)
            return [call.future(never(), timeout=30, **options) for _ in range(most)]

        bearer = [("authorization", f"Bearer {ANNA}")]
        stub, embed = embed_pb2_grpc.FacesStub(channel), "/facemake.embed.v1.Faces/Embed"
        try:
            # who has no token is refused before a message is read
            for path in (embed, "/grpc.health.v1.Health/Watch"):
                for call in held(path):
                    assert call.code() is grpc.StatusCode.UNAUTHENTICATED
            # others have so long
            for path, options in (
                (embed, {"metadata": bearer}),
                ("/grpc.health.v1.Health/Check", {}),
            ):
                waiting = held(path, **options)
                for call in waiting:
                    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                    assert "too long to arrive" in call.details()
                assert stub.Embed(request(portrait()), metadata=bearer, timeout=30).pictures
            call = channel.stream_unary(embed)
            error = refusal(call, iter(()), metadata=bearer)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        finally:
            end.set()
        said = served.service.metrics.text().decode()
        assert f'requests_total{{path="{embed}",status="UNAUTHENTICATED"}} {most}.0' in said


def test_more_boxes_than_are_taken_are_not_looked_at(server):
    _, stub = server
    region = embed_pb2.Region(points=[embed_pb2.Point()] * 2)  # wrong, and nobody sees it
    image = embed_pb2.Image(data=portrait(), regions=[region] * 100_000)
    error = refusal(stub.Embed, embed_pb2.EmbedRequest(images=[image]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "100000 boxes, 4 are taken" in error.details()


def test_the_generated_code_is_what_protoc_makes(tmp_path: Path):
    here = Path("facemake/embedserver/protocol/embed.proto")
    source = tmp_path / here
    source.parent.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / here, source)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}"]
    command += [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, str(here)], cwd=tmp_path, check=True)
    made = sorted(path for path in source.parent.iterdir() if path != source)
    assert [path.name for path in made] == ["embed_pb2.py", "embed_pb2.pyi", "embed_pb2_grpc.py"]
    for path in made:
        assert path.read_text() == (ROOT / "scripts" / here.parent / path.name).read_text(), (
            "make protocol"
        )


def test_boxes_over_http_and_grpc_are_one_kind(server):
    served, stub = server
    box = json.dumps([[10, 20, 200, 260]])
    theirs = served.post("/v1/embed", portrait(), data={"boxes": box}).json()
    region = embed_pb2.Region(box=embed_pb2.Box(x1=10, y1=20, x2=200, y2=260))
    image = embed_pb2.Image(data=portrait(), regions=[region])
    ours = stub.Embed(embed_pb2.EmbedRequest(images=[image]), timeout=30)
    assert list(ours.pictures[0].faces[0].vector) == theirs["pictures"][0]["faces"][0]["vector"]
