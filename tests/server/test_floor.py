"""The service stands beside the workflow: who may import it, and what it may import."""

from __future__ import annotations

import pytest

from facemake.fingerprints import imports
from facemake.provenance import LIBRARY

MODULES = [
    ".".join(("facemake", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in sorted(LIBRARY.rglob("*.py"))
]
SERVER = [name for name in MODULES if name.startswith("facemake.server")]


@pytest.mark.parametrize("module", SERVER)
def test_the_service_knows_no_backend_and_no_stage(module: str):
    above = ("facemake.backends", "facemake.stages", "facemake.cli", "facemake.processors")
    assert not [name for name in imports(module) if name.startswith(above)]


EMBED_SERVER = [name for name in MODULES if name.startswith("facemake.embedserver")]


@pytest.mark.parametrize("module", EMBED_SERVER)
def test_the_service_of_embeddings_knows_no_stage_and_no_engine(module: str):
    above = ("facemake.stages", "facemake.cli", "facemake.processors", "facemake.engines")
    assert not [name for name in imports(module) if name.startswith(above)]


def test_only_the_processors_and_the_command_know_the_service():
    knowing = {
        module
        for module in MODULES
        if module not in SERVER + EMBED_SERVER
        and any(name.startswith("facemake.server") for name in imports(module))
    }
    commands = {f"facemake.cli.{name}" for name in ("serve", "serve_embed", "serving")}
    assert knowing <= commands | {"facemake.processors.base"}
