"""What made the examples of a file that was put together from others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from facemake.provenance import Recipe, digest


class Origins:
    """Gathers what made the examples: as many entries as there are ways, not as there are files."""

    def __init__(self) -> None:
        self._sources: list[dict[str, Any]] = []

    def add(self, sources: Iterable[Mapping[str, Any]]) -> None:
        """Take what `SetFile.sources` says of a file whose examples were added."""
        for source in sources:
            for known in self._sources:
                if all(known[key] == source[key] for key in ("recipe", "upstream")):
                    known["examples"] += source["examples"]
                    known["lineage"] = digest([known["lineage"], source["lineage"]])
                    break
            else:
                self._sources.append(dict(source))

    def metadata(self, recipe: Recipe, content: str, count: int) -> dict[str, Any]:
        """What the file says of its making.

        Where all examples were made in one way, that is its `upstream`, as of any other file; else
        `sources` has each way, with the number of its examples.

        Args:
            recipe: of what put the file together.
            content: names what is in it.
            count: examples in it.
        """
        made = {"recipe": recipe.to_dict(), "lineage": recipe.lineage([], content)}
        first = self._sources[0] if self._sources else {}
        if len(self._sources) == 1 and first["recipe"] and first["examples"] == count:
            stage = first["recipe"]["stage"]
            return {**made, "upstream": {**first["upstream"], stage: first["recipe"]}}
        return {**made, "upstream": {}, "sources": self._sources}
