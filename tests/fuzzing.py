"""What a server's own description promises, for machines that think of requests."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def bounded(examples: int) -> Any:
    """So many requests of each kind, the same ones each time."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def check(case: schemathesis.Case, url: str, token: str) -> None:
    """Send a request, and hold the answer against the description."""
    headers = {"Authorization": f"Bearer {token}"}
    case.call_and_validate(base_url=url.rstrip("/"), headers=headers, checks=_CHECKS, timeout=20)


def check_refused(case: schemathesis.Case, url: str) -> None:
    """Send a request with a token that is none."""
    answer = case.call(base_url=url.rstrip("/"), headers={"Authorization": "Bearer x"})
    assert answer.status_code in (400, 401)
