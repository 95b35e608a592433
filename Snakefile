# facemake: face videos and image folders to tables of facial behaviour and an HDF5 training set.
#
# config/config.yaml says what to do, config/samples.tsv to what; rules/ has one file a stage,
# scripts/ one thin script a rule, scripts/facemake/ the library that does the work.
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# Snakemake hands this folder on to every script, in conda environments and containers too. It is
# beside this file also where another workflow imports it.
SCRIPTS = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)) / "scripts"
if not SCRIPTS.is_dir():
    raise WorkflowError(
        "facemake is more than its rules, which Snakemake fetched: clone its repository and give "
        "the path of the clone's Snakefile to `module`"
    )
sys.path.insert(0, str(SCRIPTS))


# What the file leaves out has its default from the schema: the shipped file is not merged beneath,
# since a merge could not take a key away from it (`splits`, say).
# Snakemake refuses one in which nothing is said, which asks for the defaults.
CONFIG = Path("config/config.yaml")
if CONFIG.is_file() and any(
    line.strip() and not line.lstrip().startswith("#")
    for line in CONFIG.read_text(errors="replace").splitlines()
):

    configfile: "config/config.yaml"


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/run.smk"
include: "rules/threedi_common.smk"
include: "rules/probe.smk"


if PLAN.config["engine"] == "native":

    include: "rules/detect.smk"
    include: "rules/landmarks.smk"
    include: "rules/fit.smk"
    include: "rules/smooth.smk"

else:

    include: "rules/threedi.smk"


include: "rules/expressions.smk"
include: "rules/aus.smk"
include: "rules/embed.smk"
include: "rules/extract.smk"
include: "rules/overlay.smk"
include: "rules/dataset.smk"
include: "rules/report.smk"
include: "rules/export.smk"
include: "rules/train.smk"


rule all:
    default_target: True
    input:
        rules.training_set.input,
        rules.report.output,
        # all that is read as a table or opened by hand: what is missing is made again
        stage_tables("probe"),
        stage_tables("detect", "detections"),
        stage_tables("landmarks"),
        stage_tables("fit"),
        stage_tables("fit", "identity"),
        stage_tables("smooth"),
        stage_tables("expressions"),
        stage_tables("aus"),
        stage_tables("embed", "embeddings"),
        raw_files(),
    message:
        "all results are there"


onstart:
    start_run()


onsuccess:
    end_run(done=True)


onerror:
    end_run(done=False)
