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


def test_only_the_processors_and_the_command_know_the_service():
    knowing = {
        module
        for module in MODULES
        if module not in SERVER
        and any(name.startswith("facemake.server") for name in imports(module))
    }
    assert knowing <= {"facemake.cli.serve", "facemake.processors.base"}
