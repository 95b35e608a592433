"""What a server of embeddings is told: how much it takes, and who may use it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from facemake.errors import FacemakeError
from facemake.server.settings import Access


@dataclass(frozen=True)
class Limits:
    """How much of the machine a server may take.

    Attributes:
        picture_bytes, picture_pixels: of one picture, as it is sent and as it is decoded.
        request_bytes: of a request's body.
        pictures: of one request.
        faces: of one picture.
        queue: pictures that wait, those that are being decoded among them. Of these and of
            `memory_bytes` an owner has at most a share (`Access.share`).
        memory_bytes: of what requests sent and of the pixels made of it, together.
        wait_seconds: within which a picture's turn has to come: who would wait longer is refused
            at once, who waited so long is answered that the server is busy.
        arrive_seconds: within which a request has to arrive.
        batch: pictures that are looked at together; 0: as many as the models want.
        batch_seconds: that the first picture of a batch waits for others; where a batch is of one
            picture nothing waits.
        decoders: threads that decode pictures; while it does each takes up to 16 bytes a pixel
            besides (WebP; of JPEG and PNG 6 to 9).
    """

    picture_bytes: int = 20 * 10**6
    picture_pixels: int = 50 * 10**6
    request_bytes: int = 40 * 10**6
    pictures: int = 16
    faces: int = 32
    queue: int = 64
    memory_bytes: int = 10**9
    wait_seconds: float = 10.0
    arrive_seconds: float = 60.0
    batch: int = 0
    batch_seconds: float = 0.005
    decoders: int = min(4, os.cpu_count() or 1)


BYTES_A_PIXEL = 3


@dataclass(frozen=True)
class Settings(Access):
    """Of one server of embeddings.

    Attributes:
        limits: see there.
    """

    limits: Limits = Limits()

    def check(self) -> None:
        """See that any request that is within the limits can be answered.

        Raises:
            FacemakeError: one limit leaves no room for another.
        """
        limits = self.limits
        whole = limits.request_bytes + BYTES_A_PIXEL * limits.picture_pixels
        if self.share(limits.queue) < limits.pictures:
            raise FacemakeError(
                f"a request may have {limits.pictures} pictures, and "
                f"{self.share(limits.queue)} of one user may wait: a larger --max-waiting"
            )
        if self.share(limits.memory_bytes) < whole:
            raise FacemakeError(
                f"a request and its largest picture take {whole / 1e6:.0f} MB, and one user has "
                f"{self.share(limits.memory_bytes) / 1e6:.0f} MB: a larger --max-memory, or "
                "smaller pictures"
            )
