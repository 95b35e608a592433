"""Classes whose instances are contexts: what they hold is closed when the block ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Is closed at the end of its block, however that ends."""

    @abstractmethod
    def close(self) -> object:
        """Let go of what is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()


class Committing(Closing):
    """Is closed at the end of its block; where an error ends that, it is discarded instead."""

    @abstractmethod
    def discard(self) -> None:
        """Let go of what is open, and finish nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
