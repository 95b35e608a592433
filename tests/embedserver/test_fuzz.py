"""The server of embeddings against what its own description lets a machine think of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis

from embedserving import EmbedServed, embed_serving, portrait, settings
from facemake.embedserver.app import create_app
from facemake.embedserver.choice import Backends
from facemake.embedserver.service import Service
from fuzzing import bounded, check, check_refused
from serving import ANNA


@pytest.fixture(scope="module")
def server(bundled) -> Iterator[EmbedServed]:
    with embed_serving(settings(tokens=True)) as served:
        yield served
        # whatever was sent, it works
        assert served.post("/v1/embed", portrait(), token=ANNA).status_code == 200
        assert served.service.queue.length() == served.service.memory.total() == 0


DESCRIBED = schemathesis.openapi.from_dict(
    create_app(Service(settings(tokens=True), Backends().make, {})).openapi()
)


@DESCRIBED.parametrize()
@bounded(25)
def test_as_described(case: schemathesis.Case, server: EmbedServed):
    check(case, server.url, ANNA)


@DESCRIBED.parametrize()
@bounded(3)
def test_nothing_works_without_a_token(case: schemathesis.Case, server: EmbedServed):
    if case.operation.path != "/health":
        check_refused(case, server.url)


def test_answers_are_as_described(server: EmbedServed):
    """Answers with faces in them, which a machine does not think of."""
    for path in ("/v1/detect", "/v1/embed", "/v1/compare"):
        answer = server.post(path, portrait(), portrait(), token=ANNA)
        assert answer.status_code == 200
        DESCRIBED[path]["POST"].validate_response(answer)
    for query in ("vectors=base64", "faces=1"):
        answer = server.post(f"/v1/embed?{query}", portrait(), token=ANNA)
        DESCRIBED["/v1/embed"]["POST"].validate_response(answer)
