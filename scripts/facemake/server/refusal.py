"""How a server says no."""

from __future__ import annotations

from facemake.errors import FacemakeError


class RefusedError(FacemakeError):
    """A request is not answered as asked.

    Args:
        status: of HTTP.
        message: why, and what to do.
        retry_after: seconds after which it may be asked again.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
