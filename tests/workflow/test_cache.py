"""What is made again and what is not: the artifact cache, and what a rule's parameters cover.

One small study is run for real, by a copy of the project that the tests change. A dry run shows
which jobs a change touches; their parameters are what the cache's keys are made of.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT
from runworkflow import Run, bytes_of, command, environment, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("cache")]

TARGET = "training_set"
PROJECT = ("Snakefile", "rules", "scripts", "envs", "config", "profiles", "README.md")
MEASURES = ("landmarks", "fit", "smooth", "expressions", "aus", "dataset")
MERGES = ("merge_dataset", "manifest", "verdict")
STAGES = ("probe", "detect", *MEASURES, *MERGES)


@dataclass(frozen=True)
class Prepared:
    """A copy of the project and a study that it has run, with the default cache."""

    root: Path
    folder: Path
    clips: Path
    first: Run

    @property
    def cache(self) -> Path:
        return self.folder / ".cache" / "facemake"

    def run(self, folder: Path, *arguments: str) -> Run:
        done = run(folder, *arguments, TARGET, cores=1, root=self.root)
        assert done.code == 0, done.output
        return done

    def copy(self, folder: Path, **config: object) -> Path:
        """The finished study, links into the cache and all, with a config of its own."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=lambda *_: [".cache"])
        self.study(folder, **config)
        return folder

    def study(self, folder: Path, **config: object) -> Path:
        samples = [(name, self.clips / f"{name}.png") for name in ("one", "two")]
        return study(folder, samples, **{**CONFIG, "cache_dir": str(self.cache), **config})


CONFIG: dict[str, object] = {"shards": 1, "embed": "off"}


def planned(done: Run) -> set[str]:
    """The rules that a dry run has jobs for."""
    return set(STAGES) & set(re.findall(r"^(\w+) +\d+$", done.output, re.MULTILINE))


def computed(folder: Path) -> set[str]:
    """The rules whose jobs said something: Snakemake only touches the log of one from the cache."""
    logs = folder / "results" / "logs"
    return {
        path.relative_to(logs).parts[0].removesuffix(".log")
        for path in logs.rglob("*.log")
        if path.stat().st_size
    }


@pytest.fixture(scope="module")
def prepared(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, root / name)
    clips = tmp_path_factory.mktemp("clips")
    for name, portrait in (("one", "eileen_collins"), ("two", "grace_hopper")):
        extension = "png" if portrait == "eileen_collins" else "jpg"
        shutil.copy2(bundled / "portraits" / f"{portrait}.{extension}", clips / f"{name}.png")
    folder = tmp_path_factory.mktemp("study")
    # no cache_dir and no variable: what a user has who sets nothing
    samples = [(name, clips / f"{name}.png") for name in ("one", "two")]
    study(folder, samples, **CONFIG)
    config = folder / "config" / "config.yaml"
    config.write_text(config.read_text().replace("cache_dir: null\n", ""))
    done = run(folder, TARGET, cores=1, root=root)
    assert done.code == 0, done.output
    return Prepared(root, folder, clips, done)


def test_it_is_on_by_default_private_and_knows_who_uses_it(prepared: Prepared):
    assert computed(prepared.folder) == set(STAGES)
    store = prepared.cache / "store"
    for folder in (prepared.cache, store):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (prepared.folder / "results" / "aus" / "pack0of1.parquet").is_symlink()
    done = facemake(prepared, prepared.folder, "cache", "info")
    assert re.search(rf"^{prepared.folder} +{len(STAGES) - 1} ", done.stdout, re.MULTILINE)


def facemake(prepared: Prepared, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "facemake", *words],
        env=environment(prepared.folder, prepared.root),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_second_run_without_results_computes_nothing(prepared: Prepared):
    before = bytes_of(prepared.folder / "results")
    for name in ("results", ".snakemake", ".facemake"):
        shutil.rmtree(prepared.folder / name)
    prepared.run(prepared.folder)
    assert computed(prepared.folder) == {"verdict"}  # it names the machine, and is not cached
    assert bytes_of(prepared.folder / "results") == before
    assert "Nothing to be done" in prepared.run(prepared.folder, "--dry-run").output


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def a_line_of_code(p: Prepared) -> None:
    path = p.root / "scripts" / "facemake" / "stages" / "aus.py"
    path.write_text(path.read_text() + "\nUNUSED = 1\n")


def code_that_a_stage_imports(p: Prepared) -> None:
    path = p.root / "scripts" / "facemake" / "backends" / "fit" / "fitter.py"
    path.write_text(path.read_text() + "\nUNUSED = 1\n")


def comments(p: Prepared) -> None:
    path = p.root / "scripts" / "facemake" / "stages" / "aus.py"
    path.write_text("# a comment\n\n" + path.read_text() + "\n# and another\n")


def elsewhere(p: Prepared) -> None:
    for name in ("README.md", "scripts/facemake/cli/run.py", "scripts/facemake/stages/embed.py"):
        path = p.root / name
        path.write_text(path.read_text() + "\nUNUSED = 1\n")


def the_hash_of_a_model(p: Prepared) -> None:
    path = p.root / "config" / "models.yaml"
    section = path.read_text(encoding="utf-8")
    start = section.index("facemesh_attention")
    (found,) = re.findall(r"sha256: ([0-9a-f]{64})", section[start:])[:1]
    replace(path, found, "0" * 64)


def a_recording(p: Prepared) -> None:
    (p.clips / "one.png").write_bytes((p.clips / "one.png").read_bytes() + b"\0")


def names_swapped(p: Prepared) -> None:
    one, two, aside = p.clips / "one.png", p.clips / "two.png", p.clips / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def an_exclusion(p: Prepared) -> None:
    (p.folder / "exclude.tsv").write_text("sample\tfirst\tlast\treason\none\t\t\tblurred\n")


def nothing(p: Prepared) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "config", "again"),
    [
        (nothing, {}, ()),
        (comments, {}, ()),
        (elsewhere, {}, ()),
        (a_line_of_code, {}, ("aus", "dataset", *MERGES)),
        (
            code_that_a_stage_imports,
            {},
            ("fit", "smooth", "expressions", "aus", "dataset", *MERGES),
        ),
        (the_hash_of_a_model, {}, (*MEASURES, *MERGES)),
        (nothing, {"landmarks": {"min_confidence": 0.6}}, (*MEASURES, *MERGES)),
        (nothing, {"dataset": {"min_quality": 0.4}}, ("dataset", *MERGES)),
        (an_exclusion, {"dataset": {"exclude": "exclude.tsv"}}, ("dataset", *MERGES)),
        (nothing, {"max_failed_fraction": 0.9}, ("verdict",)),
        (a_recording, {}, STAGES),
        (names_swapped, {}, STAGES),
    ],
)
def test_a_change_runs_what_depends_on_it_and_nothing_else(
    prepared: Prepared,
    tmp_path: Path,
    change: Callable[[Prepared], None],
    config: dict[str, object],
    again: tuple[str, ...],
):
    folder = prepared.copy(tmp_path / "copy", **config)
    root, clips = tmp_path / "project", tmp_path / "clips"
    changed = Prepared(root, folder, clips, prepared.first)
    for mine, theirs in ((prepared.root, root), (prepared.clips, clips)):
        shutil.copytree(mine, theirs)
    study(
        folder,
        [(name, clips / f"{name}.png") for name in ("one", "two")],
        **{**CONFIG, "cache_dir": str(prepared.cache), **config},
    )
    change(changed)
    assert planned(changed.run(folder, "--dry-run")) == set(again)


def test_another_folder_takes_from_the_cache_what_a_setting_does_not_touch(
    prepared: Prepared, tmp_path: Path
):
    prepared.study(tmp_path, dataset={"min_quality": 0.3})
    prepared.run(tmp_path)
    assert computed(tmp_path) == {"dataset", *MERGES}
    probe = tmp_path / "results" / "probe" / "pack0of1.parquet"
    assert probe.readlink() == (prepared.folder / "results/probe/pack0of1.parquet").readlink()


def test_swapped_names_are_other_results_though_the_files_are_the_same(
    prepared: Prepared, tmp_path: Path
):
    samples = [("one", prepared.clips / "two.png"), ("two", prepared.clips / "one.png")]
    study(tmp_path, samples, **CONFIG, cache_dir=str(prepared.cache))
    prepared.run(tmp_path)
    assert computed(tmp_path) == set(STAGES)


def test_two_runs_that_start_together_spoil_nothing(prepared: Prepared, tmp_path: Path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        prepared.study(folder, cache_dir=str(tmp_path / "cache"))
    running = [
        subprocess.Popen(
            command(folder, TARGET, cores=1, root=prepared.root),
            env=environment(folder, prepared.root),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder in folders
    ]
    for process in running:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said
    wanted = bytes_of(prepared.folder / "results")
    for folder in folders:
        assert bytes_of(folder / "results") == wanted
    store = tmp_path / "cache" / "store"
    assert not [path for path in store.iterdir() if path.name.startswith("tmp")]
    assert len(list((store / ".directories").glob("*.json"))) == 2
    stored = {path.name: path.stat().st_mtime_ns for path in store.glob("[!.]*")}
    for folder in folders:
        # what the other run stored later is newer than what was made of it here: taken, not made
        prepared.run(folder)
        assert "Nothing to be done" in prepared.run(folder, "--dry-run").output
    assert {path.name: path.stat().st_mtime_ns for path in store.glob("[!.]*")} == stored


def test_materialized_results_need_no_cache_and_no_other_machine(
    prepared: Prepared, tmp_path: Path
):
    folder = prepared.copy(tmp_path / "study")
    assert "links are files" in facemake(prepared, folder, "materialize").stdout
    assert not [p for p in (folder / "results").rglob("*") if p.is_symlink()]
    assert bytes_of(folder / "results") == bytes_of(prepared.folder / "results")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    for place in (folder, elsewhere):
        prepared.study(place, cache_dir=str(tmp_path / "another cache"))
        assert "Nothing to be done" in prepared.run(place, "--dry-run").output
