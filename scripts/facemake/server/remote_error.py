"""What is wrong with a server on another machine, as its client says it."""

from __future__ import annotations

from facemake.errors import FacemakeError


class RemoteError(FacemakeError):
    """The server cannot be used, or refused; the message says which, and what to do."""


class RemoteStatusError(RemoteError):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which the server wants to be asked again; None: it says nothing.
    """

    def __init__(self, message: str, status: int, retry_after: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
