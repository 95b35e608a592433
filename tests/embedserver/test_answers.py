"""What the server says is what the models say, whoever else asks, in whatever form."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from embedserving import (
    EmbedServed,
    embed_serving,
    encoded,
    models,
    pixels,
    portrait,
    settings,
    two_faces,
)
from facemake.embedserver import wire
from facemake.provenance import file_sha256

GRACE, EILEEN = "grace_hopper.jpg", "eileen_collins.png"


@pytest.fixture(scope="module")
def server(bundled) -> Iterator[EmbedServed]:
    with embed_serving(settings()) as served:
        yield served


def vectors(answer: requests.Response) -> list[np.ndarray]:
    """Of the faces of each picture."""
    assert answer.status_code == 200, answer.text
    return [
        np.array([face["vector"] for face in one["faces"]], np.float32)
        for one in answer.json()["pictures"]
    ]


def direct(rgb: np.ndarray, flip: bool = False) -> np.ndarray:
    found = models().find([rgb])[0]
    return models().embed(rgb, [face.face for face in found], flip)


def test_answers_are_the_models_own_to_the_last_bit(server: EmbedServed):
    names = [GRACE, EILEEN]
    data = [portrait(name) for name in names]
    # cut another way each, so that each of many pictures has its own answer
    sent = [encoded(pixels(one)[: 440 + 3 * k]) for k in range(4) for one in data]
    with ThreadPoolExecutor(len(sent)) as clients:
        answers = list(clients.map(lambda one: server.post("/v1/embed", one), sent))
    for one, answer in zip(sent, answers, strict=True):
        rgb = pixels(one)
        np.testing.assert_array_equal(vectors(answer)[0], direct(rgb))
        picture = answer.json()["pictures"][0]
        assert (picture["height"], picture["width"]) == rgb.shape[:2]
        face, found = picture["faces"][0], models().find([rgb])[0][0]
        x, y, w, h = found.bbox.astype(float)
        assert face["box"] == [x, y, x + w, y + h] and face["score"] == found.score
        points = np.array([[np.nan] * 2 if p is None else p for p in face["points"]], np.float32)
        np.testing.assert_array_equal(points, found.keypoints5)


def test_the_same_in_a_form_as_json_and_bare(server: EmbedServed):
    one = portrait()
    form = server.post("/v1/embed", one).json()
    bare = requests.post(
        server.url + "/v1/embed", data=one, headers={"Content-Type": "image/jpeg"}, timeout=30
    )
    images = {"images": [{"data": base64.b64encode(one).decode()}]}
    sent = requests.post(server.url + "/v1/embed", json=images, timeout=30)
    assert bare.json() == form == sent.json()
    written = server.post("/v1/embed?vectors=base64", one).json()["pictures"][0]["faces"][0]
    vector = np.frombuffer(base64.b64decode(written["vector"]), "<f4")
    np.testing.assert_array_equal(vector, direct(pixels(one))[0])
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-6


def test_boxes_that_came_from_detect_give_the_same_vectors(server: EmbedServed):
    data = [portrait(GRACE), two_faces()]
    found = server.post("/v1/detect", *data).json()["pictures"]
    assert [len(one["faces"]) for one in found] == [1, 2] and "vector" not in str(found)
    whole = vectors(server.post("/v1/embed", *data))
    fields = [
        (name, json.dumps([face[key] for face in one["faces"]]))
        for one in found
        for name, key in (("boxes", "box"), ("points", "points"))
    ]
    for given in (fields, [field for field in fields if field[0] == "boxes"]):
        answer = server.post("/v1/embed", *data, data=given)
        for ours, theirs in zip(vectors(answer), whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert answer.json()["pictures"][0]["faces"][0]["score"] is None
    query = {"boxes": fields[0][1], "points": fields[1][1]}
    bare = requests.post(
        server.url + "/v1/embed",
        params=query,
        data=data[0],
        headers={"Content-Type": "application/octet-stream"},
        timeout=30,
    )
    np.testing.assert_array_equal(vectors(bare)[0], whole[0])
    # of one picture they are known, of the other looked for
    some = server.post("/v1/embed", *data, data=[("boxes", "null"), fields[2]])
    np.testing.assert_array_equal(vectors(some)[1], whole[1])
    assert vectors(server.post("/v1/embed", data[0], data={"boxes": "[]"}))[0].shape == (0,)


def test_mirrored_and_surest(server: EmbedServed):
    rgb = pixels(two_faces())
    both = direct(rgb, flip=True)
    answer = server.post("/v1/embed?flip=true&faces=1", encoded(rgb))
    np.testing.assert_array_equal(vectors(answer)[0], both[:1])


def test_two_pictures_are_compared(server: EmbedServed):
    one, other = portrait(GRACE), portrait(EILEEN)
    said = server.post("/v1/compare", one, two_faces()).json()
    similarity = np.array(said["similarity"])
    assert similarity.shape == (1, 2) and [sum(row) for row in said["same_person"]] == [1]
    assert similarity.max() > said["model"]["same_person"] > similarity.min()
    cosine = float(direct(pixels(one))[0].astype(float) @ direct(pixels(other))[0].astype(float))
    apart = server.post("/v1/compare", one, other).json()
    assert apart["similarity"][0][0] == pytest.approx(cosine, abs=1e-12)
    assert apart["same_person"] == [[False]]
    nobody = encoded(np.zeros((90, 160, 3), np.uint8))
    answer = server.post("/v1/compare", one, nobody)
    assert answer.status_code == 422 and answer.json()["detail"] == "picture 2 shows no face"
    assert server.post("/v1/compare", one).status_code == 422


def test_what_made_the_vectors_is_said(server: EmbedServed):
    said = server.post("/v1/detect", portrait()).json()["model"]
    assert said == server.get("/").json()["model"]
    assert said["dim"] == 128 and "150 x 150 px" in said["chip"]
    from facemake.models import model_path

    for file in said["detector_models"] + said["embedder_models"]:
        assert file["sha256"] == file_sha256(model_path(file["name"]))


def test_a_turned_picture_is_upright(server: EmbedServed):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned to the left
    image = Image.fromarray(pixels(portrait()))
    turned = image.transpose(Image.Transpose.ROTATE_90)
    sent = encoded(turned, "PNG", exif=exif.tobytes())
    np.testing.assert_array_equal(
        vectors(server.post("/v1/embed", sent))[0], direct(np.array(image))
    )


def bomb() -> bytes:
    """A PNG of few bytes and 10 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


NOISE = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "picture 1 is empty"),
        (b"no picture at all", 422, "picture 1 is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "is not a picture"),
        (b"\0\0\0\x18ftypheic" + bytes(40), 422, "HEIC"),
        (lambda: portrait()[:20_000], 422, "damaged or cut short"),
        (lambda: portrait(EILEEN)[:9000], 422, "damaged"),
        (bomb, 422, "picture 1 is refused"),
        (lambda: encoded(np.zeros((1500, 1500, 3), np.uint8)), 413, "1500 x 1500 pixels"),
        (lambda: encoded(NOISE, "BMP"), 413, "a picture has at most 2000000 bytes"),
        (lambda: encoded(Image.new("F", (9, 9)), "TIFF"), 422, "32-bit"),
    ],
)
def test_pictures_that_are_none(server: EmbedServed, data: Any, status: int, words: str):
    sent = data() if callable(data) else data
    for path in ("/v1/detect", "/v1/embed"):
        answer = server.post(path, sent)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
    # what is right beside it is not answered for it
    assert "picture 2" in server.post("/v1/embed", portrait(), sent).text or status == 413


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "I;16"])
def test_pictures_of_all_kinds(server: EmbedServed, mode: str):
    grey = Image.fromarray(pixels(portrait()))
    if mode == "I;16":
        image = Image.fromarray(np.array(grey.convert("L")).astype(np.uint16) * 257)
    else:
        image = grey.convert(mode)
    sent = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    found = vectors(server.post("/v1/embed", sent))[0]
    assert found.shape == (1, 128) and found[0] @ direct(pixels(portrait()))[0] > 0.917


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 2)])
def test_pictures_without_a_face(server: EmbedServed, shape: tuple[int, int]):
    sent = encoded(np.zeros((*shape, 3), np.uint8))
    said = server.post("/v1/embed", sent).json()["pictures"]
    assert said == [{"width": shape[1], "height": shape[0], "faces": []}]


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ("[[-90, 0, -10, 50]]", "outside of the 512 x 600"),
        ("[[512, 0, 600, 50]]", "outside"),
        ("[[10, 10, 10, 50]]", "empty"),
        ("[[10, 10, 5, 50]]", "empty"),
        ("[[10, 10, 10.5, 50]]", "empty"),
        ("[[NaN, 0, 10, 10]]", "finite"),
        ("[[0, 0, Infinity, 10]]", "finite"),
        ("[[0, 0, 1e300, 10]]", "finite"),
        ("[[0, 0, " + "9" * 400 + ", 10]]", "finite"),
        ("[[0, 0, 100000, 100000]]", "far larger"),
        ("[[0, 0, 10]]", "a box is x1, y1, x2, y2"),
        ('[["0", 0, 10, 10]]', "a box is"),
        ("[[true, 0, 10, 10]]", "a box is"),
        ("[0, 0, 10, 10]", "a box is"),
        ("{}", "a list of boxes"),
        ("no", "no JSON"),
        ("[" * 100_000, "at most 65536 bytes"),
        ("[" * 60_000, "no JSON"),
        (str([[0, 0, 10, 10]] * 5), "5 boxes, 4 are taken"),
    ],
)
def test_boxes_that_are_none(server: EmbedServed, boxes: str, words: str):
    answer = server.post("/v1/embed", portrait(), data={"boxes": boxes})
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]


def test_a_box_that_reaches_out_is_taken(server: EmbedServed):
    answer = server.post("/v1/embed", portrait(), data={"boxes": "[[-40, -40, 300, 300]]"})
    assert vectors(answer)[0].shape == (1, 128)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([("boxes", "null"), ("boxes", "null")], "1 picture and 2 times boxes"),
        ([("points", "[]")], "points and no boxes"),
        ([("boxes", "[[0, 0, 9, 9]]"), ("points", "[]")], "points for each of 1 boxes"),
        ([("boxes", "[[0, 0, 9, 9]]"), ("points", "[[1, 2]]")], "five times"),
        ([("other", "1")], "the form's fields are image, boxes and points"),
    ],
)
def test_forms_that_are_none(server: EmbedServed, data: Any, words: str):
    answer = server.post("/v1/embed", portrait(), data=data)
    assert answer.status_code == 422 and words in answer.json()["detail"], answer.text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[]", "the body is"),
        ("{", "no JSON"),
        ('{"images": []}', "no picture"),
        ('{"images": [{"data": "%%"}]}', "no base64"),
        ('{"images": [{"data": "AAAA", "box": []}]}', "no box"),
        ('{"images": [{}]}', "wanted is an object with data"),
    ],
)
def test_json_that_is_none(server: EmbedServed, document: str, words: str):
    head = {"Content-Type": "application/json"}
    answer = requests.post(server.url + "/v1/embed", data=document, headers=head, timeout=30)
    assert answer.status_code == 422 and words in answer.json()["detail"], answer.text


def test_other_requests_that_are_none(server: EmbedServed):
    post = server.url + "/v1/embed"
    assert requests.post(post, data=b"x", timeout=9).status_code == 415
    assert requests.post(post, data={"image": "x"}, timeout=9).status_code == 415
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    assert requests.post(post, data=b"--b\r\n", headers=head, timeout=9).status_code == 400
    answer = requests.post(post, files={"boxes": (None, "[]")}, timeout=9)
    assert answer.status_code == 422
    assert server.post("/v1/embed", *[portrait()] * 5).status_code == 413
    assert server.post("/v1/embed", *[encoded(NOISE[:600], "BMP")] * 4).status_code == 413
    for query in ("faces=0", "faces=x", "flip=maybe", "vectors=xml"):
        assert server.post(f"/v1/embed?{query}", portrait()).status_code == 422
    said = server.post("/v1/detect", portrait(), data={"boxes": "[[0, 0, 9, 9]]"})
    assert said.status_code == 422 and "/v1/embed" in said.json()["detail"]
    assert server.get("/v1/embed").status_code == 405 and server.get("/none").status_code == 404


def test_more_faces_than_are_taken(bundled):
    with embed_serving(settings(faces=1)) as served:
        answer = served.post("/v1/embed", two_faces())
        assert answer.status_code == 422
        assert "picture 1 shows 2 faces, and 1 are taken" in answer.json()["detail"]
        assert len(vectors(served.post("/v1/embed?faces=1", two_faces()))[0]) == 1


def test_json_of_more_values_than_pictures_need_is_never_made_into_objects(
    server: EmbedServed, monkeypatch: pytest.MonkeyPatch
):
    parsed = []
    monkeypatch.setattr(wire, "_parsed", lambda text, where: parsed.append(where))
    body = b'{"images": [' + b"{}," * 200_000 + b"{}]}"
    answer = requests.post(
        server.url + "/v1/embed",
        data=body,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert answer.status_code == 413 and "which no pictures need" in answer.json()["detail"]
    assert parsed == []
