"""What every server of ours answers alike: refusals, faults, and the description of itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from facemake.runtime.causes import disk_is_full
from facemake.server.refusal import RefusedError

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """Why a request was not answered as asked."""

    detail: str


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What answers with these codes of HTTP are, and with those that any request may get."""
    return {code: {"model": Problem} for code in (400, 401, 403, *codes)}


def add_errors(app: FastAPI) -> None:
    """Have an application answer what it raises with a `Problem`."""

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return answer_of(error)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        said = [f"{one['loc'][-1] if one['loc'] else ''}: {one['msg']}" for one in error.errors()]
        return answer_of(RefusedError(422, "; ".join(said)))

    def full(request: Request, error: Exception) -> Response:
        if disk_is_full(error):
            return answer_of(RefusedError(507, "the server's disk is full"))
        return failed(request, error)

    def failed(request: Request, error: Exception) -> Response:
        return answer_of_fault(request.method, request.url.path, error)

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(OSError, full)
    app.add_exception_handler(Exception, failed)


def answer_of(error: RefusedError) -> JSONResponse:
    """What a client is sent that is refused."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer, Basic realm="facemake"'
    return JSONResponse({"detail": str(error)}, error.status, headers)


def answer_of_fault(method: str, path: str, error: Exception) -> JSONResponse:
    """What a client is sent of an error that nobody expected; the log has it."""
    logger.error("%s %s", method, path.split("/")[1], exc_info=error)
    return answer_of(RefusedError(500, "a fault of the server; its log has more"))


def describe(app: FastAPI, tokens: bool, open_paths: Iterable[str]) -> None:
    """Have an application describe itself, with the token that it wants.

    Args:
        app: whose description it is.
        tokens: whether it wants one.
        open_paths: where it does not, all the same.
    """

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            if tokens:
                schema["components"]["securitySchemes"] = {
                    "token": {"type": "http", "scheme": "bearer"},
                    "password": {
                        "type": "http",
                        "scheme": "basic",
                        "description": "the token as password, with any name",
                    },
                }
                schema["security"] = [{"token": []}, {"password": []}]
                for path in open_paths:
                    schema["paths"][path]["get"]["security"] = []
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
