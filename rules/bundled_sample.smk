# The bundled sample, made without network from two public-domain portraits that Python packages
# carry. It runs on its own (`snakemake -s rules/bundled_sample.smk`), because the sample sheet that
# the workflow checks at its start names what is made here.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir).parent / "scripts"))

from facemake.fingerprints import code_fingerprint

OUT = "resources/bundled"


rule bundled_sample:
    output:
        portraits=directory(f"{OUT}/portraits"),
        clip=f"{OUT}/moving_portrait.mp4",
        truth=f"{OUT}/moving_portrait.truth.tsv",
    log:
        f"{OUT}/bundled_sample.log",
    conda:
        "../envs/core.yaml"
    params:
        code=code_fingerprint("facemake.bundled"),
    message:
        "make the bundled sample"
    script:
        "../scripts/bundled_sample.py"
