# The plan of the run, and what every rule asks of it.
#
# The main process checks config and sheet and hashes the recordings; when the run starts it writes
# .facemake/plan. A job of a cluster, which parses this file again, reads that plan and nothing else.
import inspect
import logging

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from facemake import mounts, orphans
from facemake import plan as planning
from facemake.backends.threedi.install import use_settings
from facemake.clones import use_clone
from facemake.errors import FacemakeError
from facemake.models import use_models_dir
from facemake.provenance import file_sha256
from facemake.report.pages import sample_of
from facemake.runtime import gpu, runs
from facemake.store import place


def _plan():
    if not workflow.is_main_process:
        return planning.load()
    runs.begin()
    logging.getLogger("facemake").setLevel(logging.INFO)
    files = [
        Path(f) for f in dict.fromkeys(map(os.path.realpath, workflow.configfiles))
    ]
    plan = planning.make(config, files)
    orphans.drop_dangling_links(Path(plan.config["outdir"]))
    return plan


IN_CONTAINERS = (
    DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
)

try:
    PLAN = _plan()
    if IN_CONTAINERS and workflow.is_main_process:
        mounts.check_images(PLAN.config["containers"], map(PLAN.stack, PLAN.recipes))
    use_models_dir(PLAN.config["models_dir"])
    use_clone(PLAN.config["embed"]["repo"])
    gpu.use_settings(PLAN.config["jobs_per_gpu"])
    use_settings(
        *(PLAN.config["threedi"][k] for k in ("runtime", "failures", "time_limit"))
    )
except FacemakeError as error:
    # a WorkflowError would put a line of this file before what is wrong with another
    logger.error(str(error))
    sys.exit(2)

OUT = PLAN.config["outdir"]
CACHE = place.use(PLAN.config)
if not CACHE and workflow.modifier.is_main_snakefile():
    # the default profile has it on, and Snakemake would ask where it is
    workflow.workflow_settings.cache = None
if IN_CONTAINERS and not workflow.is_main_process:
    mounts.use(PLAN.mounts)


wildcard_constraints:
    # the merged training set lies beside its shards
    shard=r"(?!(training_data|manifest)\.)[^/.][^/]*",


MOST_EMBEDDED = 300
"""Samples, up to which Snakemake's own report has their pages."""


def stage_tables(stage, folder=None):
    """Every shard's table of a stage; none where the config switches the stage off."""
    if not PLAN.enabled(stage):
        return []
    return expand(f"{OUT}/{folder or stage}/{{shard}}.parquet", shard=PLAN.shards)


def people_table(*modes):
    """The table of people, where the config asks for one of these; none where it is not made."""
    wanted = PLAN.enabled("people") and PLAN.config["dataset"]["people"] in modes
    return f"{OUT}/dataset/people.parquet" if wanted else []


def recipe(stage):
    """What a stage depends on besides its inputs: a parameter of its rule, and so of its cache key."""
    return PLAN.recipes.get(stage, {})


def conda_file(stage):
    return f"../envs/{PLAN.stack(stage)}.yaml"


def container(stage):
    return PLAN.config["containers"][PLAN.stack(stage)]


def container_identity(stage):
    """A parameter of every rule: a rebuilt local image is another image under the same name."""
    return PLAN.containers[PLAN.stack(stage)]


def grows(amount, most=None):
    """Memory or minutes: of an attempt after one that was ended for want of them, more.

    `most` is for what would fit no partition of many clusters at a third try: two days.
    """

    def resource(wildcards, attempt):
        return amount * attempt if most is None else min(amount * attempt, most)

    # Snakemake asks for it several times a job, and it is slow to find out
    resource.__signature__ = inspect.signature(resource)
    return resource


def gpus(stage):
    """How many GPUs a job of the stage asks for."""
    return int(recipe(stage).get("settings", {}).get("device") == "cuda")


def crops(path):
    """The crops, which go when nothing needs them any more unless the config keeps them."""
    return path if PLAN.config["dataset"]["keep_crops"] else temp(path)


def segments(folder, suffix="parquet"):
    """Input function: the files of all segments of a shard, few shards have any."""

    def files(wildcards):
        names = PLAN.segments_of(wildcards.shard)
        return [f"{OUT}/{folder}/.segments/{name}.{suffix}" for name in names]

    return files


def of_shard(folder):
    """Input function: the table of the shard that a segment's sample is in."""

    def table(wildcards):
        return f"{OUT}/{folder}/{PLAN.segments[wildcards.sample]['shard']}.parquet"

    return table


def reference_pictures(wildcards):
    """The pictures of the people that track 0 shall be; none where that goes by another rule."""
    return [path for _, _, path in PLAN.references.get(wildcards.shard, [])]


def labels_file():
    """Action units that people coded; none where the config names no file."""
    path = PLAN.config["evaluate"]["labels"]
    return str(Path(path).expanduser()) if path else []


def networks_page():
    """A parameter of the report: the page of the networks as it is; it decides no job of theirs."""
    path = Path(OUT, "report", "networks.html")
    return file_sha256(path) if path.is_file() else ""


def page_labels(wildcards):
    """What Snakemake's own report calls a page, by the name of its file."""
    return {"sample": sample_of(Path(f"{wildcards.sample}.html"))}


def embedded_pages(path):
    """A folder of pages, in Snakemake's own report too unless that would be of gigabytes."""
    if PLAN.samples > MOST_EMBEDDED:
        return directory(path)
    return report(
        directory(path),
        patterns=["{sample}.html"],
        caption="captions/pages.rst",
        category="Samples",
        labels=page_labels,
    )


def segment_range(wildcards):
    """A parameter of a segment's rules: two samples of one shard may have the same inputs."""
    part = PLAN.segment(wildcards.sample, int(wildcards.segment))
    return [part.sample, part.number, part.start, part.end]
