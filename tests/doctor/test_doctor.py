"""The doctor (docs/troubleshooting.md), here and on stand-ins for programs of other machines."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from facemake import settings
from facemake.cli import main
from facemake.doctor import environment, machine, running, study
from facemake.doctor.findings import Finding, Level, ok
from facemake.doctor.running import Check, all_of
from facemake.errors import FacemakeError
from standin3di import build

DEFAULTS = settings.filled({})


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes stand-ins for programs of a system, and has them first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


def levels(found: list[Finding]) -> dict[str, Level]:
    return {one.what: one.level for one in found}


def test_a_stuck_check_is_given_up_and_a_failing_one_is_a_fault():
    def stuck():
        yield ok("before", "seen")
        time.sleep(60)

    def refused():
        raise FacemakeError("no such thing")
        yield

    def broken():
        raise ZeroDivisionError
        yield

    began = time.monotonic()
    checks = [Check("stuck", stuck, 0.2), Check("refused", refused), Check("broken", broken)]
    before, gave_up, fault, bug = all_of(checks)
    assert time.monotonic() - began < 30
    assert (before.what, gave_up.what, gave_up.level) == ("before", "stuck", Level.WARNING)
    assert "gave no answer in 0 s" in gave_up.said
    assert (fault.level, fault.said) == (Level.FAULT, "no such thing")
    assert bug.level is Level.FAULT and "the check itself failed: ZeroDivision" in bug.said


def test_a_stuck_program_is_ended(programs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "_SECONDS_OF_A_PROGRAM", 0.2)
    programs("stuck", "exec sleep 60")
    assert running.output_of("stuck")[0] == 124
    assert running.output_of("no-such-program")[0] == 127


def test_this_environment_is_the_locks(tmp_path: Path):
    wanted = environment.locked()
    assert len(wanted) > 50 and "numpy" in wanted
    assert {one.level for one in environment.packages()} == {Level.OK}


def test_another_version_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lock = {"numpy": "0.1", "no-such-package": "1"}
    monkeypatch.setattr(environment, "locked", lambda: lock)
    first, *_ = environment.packages()
    assert first.level is Level.FAULT and "no-such-package 1 is missing" in first.said
    assert ", not 0.1" in first.said and "--require-hashes" in first.cure


def test_a_shared_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lacking.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file')"
    )
    (tmp_path / "dying.py").write_text("import os; os.abort()")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(environment, "_NATIVE", ("json", "lacking", "dying"))
    lacking, dying = environment.shared_libraries()
    assert lacking.what == "import lacking" and "lacks libGL.so.1" in lacking.cure
    assert dying.what == "import dying" and "ends the process" in dying.said


def test_what_is_slow_to_import_is_not_taken_for_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("slow", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(running, "_SECONDS_OF_A_PROGRAM", 0.2)
    monkeypatch.setattr(environment, "_NATIVE", ("json", "slow"))
    (slow,) = environment.shared_libraries()
    assert slow.level is Level.WARNING and slow.said == "no answer in 0 s"
    monkeypatch.setattr(machine, "find_spec", lambda name: name == "onnxruntime")
    _, onnx = machine.gpu(DEFAULTS)
    assert (onnx.what, onnx.level) == ("onnxruntime", Level.WARNING)
    assert "no answer" in onnx.said


def test_what_is_imported_while_the_time_runs_out_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "_SECONDS_OF_A_PROGRAM", 1.0)
    line = '{"json": ""}'
    stuck = running.output_of("sh", "-c", f"echo '{line}'; exec sleep 60")
    assert stuck == (running.STUCK, f"{line}\nno answer in 1 s")
    monkeypatch.setattr(environment, "_NATIVE", ("json", "csv"))
    monkeypatch.setattr(environment, "output_of", lambda *_, **__: stuck)
    (slow,) = environment.shared_libraries()
    assert (slow.what, slow.said) == ("import csv", "no answer in 1 s")


def test_a_folder_that_cannot_be_written_to_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert levels(list(study.folder())) == {"folder": Level.OK}
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = study.folder()
    assert found.level is Level.FAULT and str(tmp_path) in found.said


def test_the_table_of_exclusions_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anna.mp4").touch()
    (tmp_path / "samples.tsv").write_text("sample\tpath\nanna\tanna.mp4\n")
    config = settings.filled({"samples": "samples.tsv", "dataset": {"exclude": "out.tsv"}})
    assert levels(list(study.sheet(config))) == {"samples": Level.OK, "exclusions": Level.FAULT}
    (tmp_path / "out.tsv").write_text("sample\tfirst\nanna\t5\n")
    assert levels(list(study.sheet(config))) == {"samples": Level.OK, "exclusions": Level.OK}


def test_gpu_is_asked_of_the_driver(programs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    programs("nvidia-smi", "echo 'GPU 0: Stand-in (UUID: GPU-1)'")
    (found,) = machine.gpu(DEFAULTS)
    assert found == ok("GPU", "GPU 0: Stand-in")
    programs("nvidia-smi", "echo 'no driver'; exit 9")
    assert [one.level for one in machine.gpu(DEFAULTS)] == [Level.OK]
    (found,) = machine.gpu({**DEFAULTS, "device": "cuda"})
    assert found.level is Level.FAULT and "no driver" in found.said


def test_decoders_and_encoder_are_there():
    assert [one.level for one in machine.decoders()] == [Level.OK, Level.OK]


def test_images_that_are_not_there_are_faults(programs, tmp_path: Path):
    programs("apptainer", "echo apptainer version 1.4")
    (tmp_path / "here.sif").touch()
    images = {"core": str(tmp_path / "here.sif"), "dlib": "gone.sif", "onnx": "docker://x/y@sha"}
    config = {**DEFAULTS, "containers": {**DEFAULTS["containers"], **images}}
    found = levels(list(machine.containers(config)))
    assert found["image of core"] is Level.OK and found["image of onnx"] is Level.OK
    assert found["image of dlib"] is Level.FAULT and found["Apptainer"] is Level.OK


def test_partitions_of_the_profile_are_looked_for(
    programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "find_spec", lambda name: True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in ("sbatch", "squeue", "scancel"):
        programs(name, "")
    programs("sinfo", "echo cpu; echo long")
    programs("scontrol", "echo AccountingStorageType    = accounting_storage/none")
    found = {one.what: one for one in machine.slurm()}
    assert found["SLURM"].said == "partitions cpu, long"
    assert found["profile slurm"].level is Level.WARNING
    assert found["partitions"].level is Level.FAULT and "gpu of the pro" in found["partitions"].said
    assert found["accounting"].said == "accounting_storage/none"
    assert main(["profile", "install", "slurm"]) == 0
    programs("sinfo", "echo cpu; echo gpu")
    assert {one.level for one in machine.slurm()} == {Level.OK}
    programs("sinfo", "echo no controller; exit 1")
    assert [one.level for one in machine.slurm()] == [Level.FAULT]


def test_a_cache_that_others_can_look_into_is_a_fault(tmp_path: Path):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    config = {**DEFAULTS, "cache_dir": str(folder)}
    first = next(iter(study.cache(config)))
    assert first.level is Level.FAULT and first.cure == f"chmod 700 {folder}"
    folder.chmod(0o700)
    assert next(iter(study.cache(config))).level is Level.OK
    assert next(iter(study.cache({**DEFAULTS, "cache_dir": None}))).said.startswith("off")


def test_missing_models_are_faults_with_their_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    config = settings.filled({"detect": {"backend": "yunet"}, "embed": "off"})
    found = {one.what: one for one in study.models(config)}
    yunet = found.pop("model yunet_n_640_640")
    assert yunet.level is Level.FAULT and yunet.cure.startswith("`facemake models fetch yunet")
    assert "detect" in yunet.said
    assert found and {one.level for one in found.values()} == {Level.OK}
    assert all("licence: " in one.said for one in found.values())


@pytest.mark.parametrize(
    ("script", "level", "said"),
    [
        ("echo 'GPU 0: Stand-in (UUID: GPU-1)'", Level.OK, "sees 1: GPU 0: Stand-in"),
        ("echo 'no devices were found'; exit 6", Level.FAULT, "sees none: no devices were found"),
    ],
)
def test_the_gpu_is_asked_where_3di_runs(
    programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, level: Level, said: str
):
    """By the stand-in install's own runtime; the GPU and its driver are stand-ins, too."""
    install = build.build(tmp_path, "3di")
    monkeypatch.setattr("facemake.backends.threedi.runtimes.has_nvidia", lambda: True)
    programs("nvidia-smi", script)
    threedi = {"runtime": str(install), "morphable_model": build.MODEL["3di"]}
    config = settings.filled({"engine": "3di", "threedi": threedi})
    there, gpu = study.threedi(config)
    assert there.level is Level.OK, there
    assert gpu.level is level and said in gpu.said


def test_3di_that_is_not_there_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    config = settings.filled({"engine": "3di", "threedi": {"runtime": "/nowhere/3DI"}})
    (found,) = study.threedi(config)
    assert found.level is Level.FAULT and "/nowhere/3DI" in found.said
    assert [*study.threedi(DEFAULTS)] == []


def test_the_command_says_faults_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "_NATIVE", ("av",))
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"level", "what", "said", "cure"} == set(found[0])
    (config,) = (one for one in found if one["what"] == "config")
    assert config["level"] == "warning" and config["cure"].startswith("facemake init")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("detekt: 1\n")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "config.yaml:1: detekt is no key; did you mean detect?" in said
    assert "no such sample sheet" in said and said.splitlines()[-1].startswith("2 faults, ")
    assert main(["doctor", "-d", str(tmp_path / "nowhere")]) == 2
