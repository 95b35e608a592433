"""facemake doctor: what is in order here, and the cure of what is not."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from facemake.counting import counted
from facemake.doctor.findings import Finding, Level
from facemake.errors import FacemakeError

_SECONDS_OF_3DI = 120.0


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="check environment, GPU, decoders, containers, SLURM, models, cache, config and sheet",
        description="Check everything that a run in this folder needs, without changing or sending "
        "anything. Each check prints one line: ok, warning (some runs would miss it) or fault (a "
        "run would fail), with the cure. The exit code is 1 if there is a fault.",
        epilog="example: facemake doctor -d my_study --json",
    )
    parser.add_argument(
        "-d",
        "--directory",
        type=Path,
        default=Path(),
        help="the study's folder (default: this one)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list, for scripts")
    parser.set_defaults(function=_doctor)


def _doctor(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.doctor import environment, machine, slurm, study
    from facemake.doctor.running import Check, all_of

    try:
        os.chdir(options.directory)  # paths of the config are relative to it
    except OSError as error:
        raise FacemakeError(f"{options.directory}: {error.strerror}") from None
    config, said = study.config_here()
    checks = [
        Check("Python", environment.python),
        Check("packages", environment.packages),
        Check("native libraries", environment.shared_libraries),
        Check("PYTHONPATH", environment.conflicts),
        Check("GPU", partial(machine.gpu, config)),
        Check("decoders", machine.decoders),
        Check("containers", partial(machine.containers, config)),
        Check("SLURM", slurm.slurm),
        Check("3DI", partial(study.threedi, config), _SECONDS_OF_3DI),
        Check("folder", study.folder),
        Check("config", lambda: said),
        Check("samples", partial(study.sheet, config)),
        Check("models", partial(study.models, config)),
        Check("cache", partial(study.cache, config)),
    ]
    found: list[Finding] = []
    for finding in all_of(checks):
        found.append(finding)
        if not options.json:
            _show(finding)
    faults = sum(one.level is Level.FAULT for one in found)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        warnings = sum(one.level is Level.WARNING for one in found)
        print(
            f"{counted(faults, 'fault')}, {counted(warnings, 'warning')}, "
            f"{len(found) - faults - warnings} in order"
        )
    return 1 if faults else 0


def _show(finding: Finding) -> None:
    said = finding.said.replace("\n", "\n" + " " * 9)
    print(f"{finding.level:8} {finding.what}: {said}", flush=True)
    if finding.cure:
        print(f"{'':8} -> {finding.cure}", flush=True)
