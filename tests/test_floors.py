"""The library's floors: imports go downwards only."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

from facemake.fingerprints import imports
from facemake.provenance import LIBRARY

# They know what can be chosen: the registries of the backends.
PLANNING = {"plan", "recipes", "settings", "estimate", "summary", "__main__"}
KERNEL = sorted(
    f"facemake.{path.stem}"
    for path in LIBRARY.glob("*.py")
    if path.stem not in PLANNING | {"__init__"}
) + sorted(
    f"facemake.{folder}.{path.stem}"
    for folder in ("calibration", "media", "runtime")
    for path in LIBRARY.glob(f"{folder}/*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("module", KERNEL)
def test_the_kernel_knows_no_backend_and_no_stage(module: str):
    above = ("facemake.backends", "facemake.stages", "facemake.cli")
    assert not [name for name in imports(module) if name.startswith(above)]


ABOVE_STAGES = ("facemake.processors", "facemake.server", "facemake.cli", "facemake.data.")


def test_no_stage_knows_what_is_built_on_stages():
    for path in LIBRARY.glob("stages/*.py"):
        module = ".".join(("facemake", *path.relative_to(LIBRARY).with_suffix("").parts))
        names = imports(module.removesuffix(".__init__"))
        assert not [n for n in names if n.startswith(ABOVE_STAGES)], module


def test_no_backend_knows_a_stage():
    for path in LIBRARY.glob("backends/**/*.py"):
        module = ".".join(("facemake", *path.relative_to(LIBRARY).with_suffix("").parts))
        names = imports(module.removesuffix(".__init__"))
        assert not [n for n in names if n.startswith(("facemake.stages", *ABOVE_STAGES))], module


def test_no_module_imports_itself_by_way_of_others():
    """Packages apart: what is in them imports them to say where it is."""
    paths = [path for path in LIBRARY.glob("**/*.py") if path.stem != "__init__"]
    modules = {
        ".".join(("facemake", *path.relative_to(LIBRARY).with_suffix("").parts)) for path in paths
    }
    graph = {module: modules & set(imports(module)) - {module} for module in modules}
    assert len([*TopologicalSorter(graph).static_order()]) == len(paths)
