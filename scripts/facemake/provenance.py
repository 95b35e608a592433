"""What made a file: the recipe of a stage, carried by every file that it writes.

A recipe is all that a stage's result depends on, besides the pictures: its settings, its models by
their SHA-256, its own code. Snakemake's cache and rerun rules see it as a parameter of the rule.
It names no path, host, time, core count or user.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facemake.version import __version__

LIBRARY = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """What a stage does, whatever it does it to.

    Attributes:
        stage: the stage's name.
        backend: the row of the stage's registry, None for a stage without backends.
        settings: the part of the config that the stage obeys.
        models: name, sha256 and licence of each model file.
        libraries: version of each installed library that the result can hang on.
        code: fingerprint of the library code that the stage uses.
        version: of facemake.
    """

    stage: str
    backend: str | None
    settings: Mapping[str, Any]
    models: tuple[Mapping[str, str], ...]
    code: str
    libraries: Mapping[str, str] = field(default_factory=dict)
    version: str = __version__

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote (a rule's parameter, a file's metadata)."""
        known = {key: document[key] for key in cls.__dataclass_fields__}
        return cls(**{**known, "models": tuple(known["models"])})

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and dictionaries, in a fixed order."""
        return {**asdict(self), "models": [dict(model) for model in self.models]}

    def lineage(self, upstream: Iterable[str], samples: str) -> str:
        """SHA-256 that names a file's content before it is made.

        Args:
            upstream: lineages of the input files, in any order.
            samples: digest of the shard's samples.
        """
        return digest([self.to_dict(), sorted(upstream), samples])


def digest(document: object) -> str:
    """SHA-256 of a JSON document, independent of the order of keys."""
    return text_digest(json_text(document))


def json_text(document: object) -> str:
    """The one JSON text of a document, whatever the order of its keys."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def text_digest(text: str) -> str:
    """SHA-256 of a text, as lower-case hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
