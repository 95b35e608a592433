"""The doctor (docs/troubleshooting.md), here and on stand-ins for programs of other machines."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from facemake import recipes, settings
from facemake.cli import main
from facemake.doctor import environment, machine, running, slurm, study
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


def test_modules_of_another_python_are_named_and_ours_are_not(monkeypatch: pytest.MonkeyPatch):
    ours = str(environment.LIBRARY.parent)
    monkeypatch.setenv("PYTHONPATH", ours)  # as in the images
    assert [*environment.conflicts()] == []
    monkeypatch.setenv("PYTHONPATH", f"{ours}:/opt/theirs:")
    (found,) = environment.conflicts()
    assert found.level is Level.WARNING and found.said == "/opt/theirs"


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
    """The others are started; what one has is said by a stand-in for Apptainer."""
    wanted = recipes.libraries("core")
    old = {**wanted, "av": "1.0", "pyfhog": None}
    image = tmp_path / "here.sif"
    image.touch()
    images = {"core": str(image), "dlib": "gone.sif", "onnx": "docker://x/y@sha"}
    config = {**DEFAULTS, "containers": {**DEFAULTS["containers"], **images}}

    def looked_at(said: str) -> dict[str, Finding]:
        programs("apptainer", f"[ $1 = exec ] || exec echo apptainer version 1.4\n{said}")
        return {one.what: one for one in machine.containers(config)}

    found = looked_at(f"echo INFO: squashfuse; echo '{json.dumps(wanted)}'")
    assert found["image of core"].level is Level.OK and found["Apptainer"].level is Level.OK
    assert found["image of onnx"].level is Level.OK and found["image of dlib"].level is Level.FAULT
    core = looked_at(f"echo '{json.dumps(old)}'")["image of core"]
    assert core.level is Level.FAULT and "av is 1.0, not" in core.said
    assert "pyfhog is missing, not" in core.said and "STACKS=core" in core.cure
    core = looked_at("echo no user namespaces; exit 255")["image of core"]
    assert core.level is Level.WARNING and "cannot be started (255): no user nam" in core.said


CONFIG_OF_SLURM = "AccountingStorageType    = accounting_storage/{}\nMinJobAge = {} sec"


@pytest.fixture
def cluster(programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes stand-ins for the programs of a cluster with the partitions of the profile."""
    monkeypatch.setattr(slurm, "find_spec", lambda name: True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def write(
        partitions: str = "cpu|2-00:00:00\ngpu|2-00:00:00",
        refused: str = "",
        store: str = "none",
        age: int = 300,
    ) -> dict[str, Finding]:
        """What the doctor says where sbatch refuses jobs with a word that the shell matches."""
        for name in ("squeue", "scancel"):
            programs(name, "")
        programs("sinfo", f"echo '{partitions}'")
        programs("scontrol", f"echo '{CONFIG_OF_SLURM.format(store, age)}'")
        cases = f"{refused}) echo allocation failure: no such node; exit 1;;" if refused else ""
        programs("sbatch", f'[ "$1" = --test-only ] || exit 9\ncase "$*" in {cases} *) ;; esac')
        return {one.what: one for one in slurm.slurm()}

    return write


def test_partitions_of_the_profile_are_looked_for(cluster, programs):
    found = cluster("cpu|2-00:00:00\nlong|infinite")
    assert found["SLURM"].said == "partitions cpu, long"
    assert found["profile slurm"].level is Level.WARNING and "partitions" not in found
    assert main(["profile", "install", "slurm"]) == 0
    found = cluster("cpu|2-00:00:00\nlong|infinite")
    assert found["partitions"].level is Level.FAULT and "gpu of the pro" in found["partitions"].said
    assert found["accounting"].said == "accounting_storage/none"
    assert {one.level for one in cluster().values()} == {Level.OK}
    programs("sinfo", "echo no controller; exit 1")
    assert [one.level for one in slurm.slurm()] == [Level.FAULT]


def test_what_the_profile_says_is_tried_on_the_cluster(cluster, tmp_path: Path):
    path = tmp_path / "home" / ".config" / "snakemake" / "slurm" / "config.yaml"
    path.parent.mkdir(parents=True)

    def profile(text: str) -> None:
        path.write_text(text)

    profile("partitions: {cpu: {max_mem_mb: 9000, max_runtime: 3d}, gpu: {max_gpu: 2}}")
    found = cluster(refused="*--mem=9000*")
    assert found["partition cpu"].level is Level.WARNING
    assert "max_runtime 4320 in the profile, and takes jobs of 2880" in found["partition cpu"].said
    found = cluster("cpu|infinite\ngpu|infinite", refused="*--mem=9000*")
    assert "max_mem_mb 9000 in the profile, and takes no" in found["partition cpu"].said
    found = cluster("cpu|infinite\ngpu|infinite", refused="*--gpus=1*")
    assert found["partition gpu"].level is Level.FAULT
    assert "allocation failure: no such node" in found["partition gpu"].said
    profile("default-resources: {slurm_account: mine, qos: \"'long'\"}\npartitions:\n  cpu:\n")
    found = cluster("cpu|infinite", refused="*--account=mine*--qos=long*")
    assert "(--account=mine --qos=long --mem=1000" in found["partition cpu"].said
    profile("default-resources: [slurm_account=mine]\nslurm-qos: short\n")
    found = cluster("cpu|infinite", refused="*--account=mine*--qos=short*")
    assert found["the default partition"].level is Level.FAULT
    profile("partitions: {cpu: 3}")  # what it takes is not said
    assert "has no max_runtime" in cluster()["partition cpu"].said
    profile("partitions: [")
    assert cluster()["profile slurm"].said == f"{path} is no YAML with keys"


@pytest.mark.parametrize(
    ("asks", "store", "age", "level", "cure"),
    [
        ("squeue", "none", 300, None, ""),
        ("squeue", "none", 120, Level.WARNING, "ask its keepers"),
        ("squeue", "slurmdbd", 120, Level.WARNING, "slurm-status-command: sacct in"),
        ("sacct", "none", 300, Level.FAULT, "slurm-status-command: squeue in"),
    ],
)
def test_whether_a_finished_job_is_seen(
    cluster, tmp_path: Path, asks: str, store: str, age: int, level: Level | None, cure: str
):
    path = tmp_path / "home" / ".config" / "snakemake" / "slurm" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"slurm-status-command: {asks}\n")
    found = cluster(store=store, age=age).get("finished jobs")
    assert (found and found.level) == level and cure in (found.cure if found else "")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        *((2880, 2880.0), ("2d", 2880.0), ("1d12h30m", 2190.0), ("90s", 1.5), (None, None)),
        *(("7-00:00:00", 10080.0), ("1-12", 2160.0), ("1-12:30", 2190.0), ("2:00:00", 120.0)),
        *(("30:30", 30.5), ("60", 60.0), ("infinite", None), ("UNLIMITED", None)),
    ],
)
def test_times_of_slurm_and_of_the_profile(text: object, minutes: float | None):
    assert slurm.minutes(text) == minutes


def test_a_login_node_without_a_gpu_is_no_fault(programs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    programs("nvidia-smi", "exit 9")
    programs("sbatch", "")
    (found,) = machine.gpu({**DEFAULTS, "device": "cuda"})
    assert found.level is Level.WARNING and "look again in a job" in found.cure
    *_, space = study.cache({**DEFAULTS, "cache_dir": None})
    assert space.said.endswith("unless your quota there is less")


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
