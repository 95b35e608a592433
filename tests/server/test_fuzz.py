"""The server against what its own description lets a machine think of."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, strategies

from facemake.server.app import create_app
from facemake.server.wire import METHODS, PROCESSORS
from fuzzing import bounded, check, check_refused
from serving import ANNA, Served, serving, settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    what = settings(
        tmp_path_factory.mktemp("fuzz"), tokens=True, sessions=1000, queue=1000, upload_bytes=10_000
    )
    with serving(what) as served:
        yield served
        # whatever was sent, it works
        session = served.session(ANNA)
        assert served.call("execute", session, token=ANNA).status_code == 200


@pytest.fixture(scope="module")
def known(server: Served) -> dict[str, str]:
    """A session and a job that are there."""
    session = server.session(ANNA)
    return {"session_id": session, "job_id": server.job(session, token=ANNA)}


# the description does not depend on a folder, and making an application touches none
DESCRIBED = schemathesis.openapi.from_dict(
    create_app(settings(Path("none"), tokens=True)).openapi()
)


@DESCRIBED.parametrize()
@bounded(20)
def test_as_described(case: schemathesis.Case, server: Served, known: dict[str, str]):
    # half of the requests get past the identifiers
    if case.method != "DELETE" and len(json.dumps(str(case.body))) % 2:
        for place in (case.path_parameters, case.body):
            if isinstance(place, dict):
                place |= {key: value for key, value in known.items() if key in place}
    check(case, server.url, ANNA)


@DESCRIBED.parametrize()
@bounded(3)
def test_nothing_works_without_a_token(case: schemathesis.Case, server: Served):
    if case.operation.path not in ("/", "/health"):
        check_refused(case, server.url)


JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.floats()
    | strategies.integers()
    | strategies.text(max_size=20),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = strategies.sampled_from(
    [
        *("camera_model", "landmark_model", "morphable_model", "basis_model", "fast", "args"),
        *("kwargs", "runtime", "server", "output_dir", "lite_basis_model", "__class__"),
    ]
)
CONFIG = strategies.dictionaries(KEYS | strategies.text(max_size=5), JSON, max_size=4)


@given(
    config=CONFIG,
    arguments=strategies.dictionaries(
        strategies.sampled_from(["normalize", "k", "undistort", "self"]), JSON, max_size=2
    ),
    processor_class=strategies.sampled_from(PROCESSORS),
    method=strategies.sampled_from(METHODS),
)
@bounded(80)
def test_any_config_is_taken_or_refused(
    server: Served,
    known: dict[str, str],
    config: dict[str, Any],
    arguments: dict[str, Any],
    processor_class: str,
    method: str,
):
    form = {
        "session_id": known["session_id"],
        "processor_class": processor_class,
        "method": method,
        "config": json.dumps(config),
        "arguments": json.dumps(arguments),
    }
    answer = server.ask("POST", "jobs", ANNA, data=form)
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 202:  # what it took is no job of hours for the tests
        server.ask("DELETE", f"jobs/{answer.json()['job_id']}", ANNA)


def test_the_server_is_as_it_was(server: Served):
    end = time.monotonic() + 10
    while server.queue.length() != (0, 0) and time.monotonic() < end:
        time.sleep(0.05)
    assert server.queue.length() == (0, 0)
    names = {path.name for path in server.settings.folder.iterdir()}
    assert names == {"lock", "sessions"}
