"""Every code block of the page of pife runs, with only names of packages and places changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facemake import extraction
from facemake.errors import ModelError


def blocks(shared: Path) -> list[str]:
    (page,) = (shared / "seeds").glob("004_*.txt")
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_has_two_blocks(shared: Path):
    first, second = blocks(shared)
    assert "from pife import Pife" in first
    # of its own machine, for reference: ours are measured
    names: dict[str, dict[str, int]] = {}
    exec(second, names)
    assert names["worker_map"]["retinaface"] == 2


def test_the_first_block(shared: Path, bundled: Path, tmp_path: Path):
    data = tmp_path / "raid" / "chalearn15"
    for part in ("train", "test", "valid"):
        (data / part).mkdir(parents=True)
        portrait = (bundled / "portraits" / "grace_hopper.jpg").read_bytes()
        (data / part / "hopper.jpg").write_bytes(portrait)
    code = blocks(shared)[0].replace("from pife import", "from facemake import")
    code = code.replace("/raid/", f"{tmp_path}/raid/")
    # the weights of the page's backend are not in any package
    code = code.replace("Pife('retinaface', 2)", "Pife('mediapipe', 2)")
    script = tmp_path / "script.py"
    script.write_text(code)
    names: dict[str, object] = {}
    exec(compile(code, script, "exec"), names)
    out = tmp_path / "raid" / "chalearn15-pife"
    for part in ("train", "test", "valid"):
        assert (out / part / "hopper.jpg").is_file()
    assert (out / "faces.parquet").is_file()


def test_the_pages_own_backend_says_which_weights_it_wants(
    shared: Path, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    data = tmp_path / "raid" / "chalearn15" / "train"
    data.mkdir(parents=True)
    (data / "hopper.jpg").write_bytes((bundled / "portraits" / "grace_hopper.jpg").read_bytes())
    code = blocks(shared)[0].replace("from pife import", "from facemake import")
    with pytest.raises(ModelError, match=r"not on this machine: get it from .*retinaface\.onnx"):
        exec(code.replace("/raid/", f"{tmp_path}/raid/"), {})


def test_the_alias_takes_what_the_function_takes(monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []
    monkeypatch.setattr(
        "facemake.extraction.run.extract_faces", lambda *a, **k: asked.append((a, k))
    )
    extraction.Pife("scrfd", 3, template="raw").extract(["a.jpg"], "out")
    assert asked == [((["a.jpg"], "out", "scrfd", 3), {"template": "raw"})]
