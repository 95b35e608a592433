"""Rules whose backend can compute on a GPU ask for one, and their scripts lease it."""

from __future__ import annotations

import re

import pytest

from conftest import ROOT
from facemake import settings
from facemake.backends import Backend
from facemake.backends.aus import AU_ESTIMATORS
from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.backends.landmarks import LANDMARKERS
from facemake.engines.native import NATIVE

REGISTRIES = {
    "detect": DETECTORS,
    "landmarks": LANDMARKERS,
    "aus": AU_ESTIMATORS,
    "embed": EMBEDDERS,
}


def able(row: Backend) -> bool:
    return "cuda" in row.devices


def on_gpu() -> dict[str, list[dict]]:
    """Stage -> configs under which it computes on a GPU."""
    found: dict[str, list[dict]] = {}
    for section, rows in REGISTRIES.items():
        for name in (name for name, row in rows.items() if able(row)):
            chosen: dict[str, str] = {"backend": name}
            if section == "embed" and rows[name].clone:
                chosen["model"] = "mine.onnx"  # which needs no clone of its code
            config = settings.filled({section: chosen, "device": "cuda"})
            for stage, row in NATIVE.items():
                its = row.backend(config)
                if its and its[0] == name and able(its[1]):
                    found.setdefault(stage, []).append(config)
    return found


ON_GPU = on_gpu()


def test_which_stages_can_compute_on_a_gpu():
    stages = {"detect", "detect_segment", "landmarks", "landmarks_segment", "aus", "embed"}
    assert stages == set(ON_GPU)
    assert sum(map(able, DETECTORS.values())) == len(ON_GPU["detect"])


@pytest.mark.parametrize("stage", ON_GPU)
def test_its_rule_asks_for_the_gpu_and_its_script_leases_it(stage: str):
    for config in ON_GPU[stage]:  # what gpus() of rules/common.smk looks at
        assert NATIVE[stage].settings(config)["device"] == "cuda"
    rules = [
        text
        for path in (ROOT / "rules").glob("*.smk")
        if not path.name.startswith("threedi")  # its programs compute, not these networks
        for text in re.split(r"^ *rule\b", path.read_text(), flags=re.MULTILINE)[1:]
        if f'recipe=recipe("{stage}")' in text
    ]
    assert rules
    for text in rules:
        assert f'gpu=gpus("{stage}"),' in text
        script = ROOT / "scripts" / re.search(r'"\.\./scripts/(\w+\.py)"', text)[1]
        assert 'gpus=snakemake.resources.get("gpu", 0),' in script.read_text()
