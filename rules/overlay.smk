# The recordings with what was measured drawn on them; asked for by name (`overlays`), or by the report.
#
# Not cached: the files are as large as the recordings, and the store would keep a second copy of each
# of people's faces. They are made as fast as a video is written.
from facemake.overlay.options import Options

OVERLAY = Options.of(PLAN.config["overlay"])


rule overlay:
    input:
        **{
            table: f"{OUT}/{table}/{{shard}}.parquet"
            for table in ("probe", *OVERLAY.tables)
        },
        threedi_model=(
            f"{OUT}/3di/.steps/model.npz"
            if OVERLAY.needs_mesh and PLAN.config["engine"] != "native"
            else []
        ),
    output:
        folder=directory(f"{OUT}/overlay/{{shard}}"),
    log:
        f"{OUT}/logs/overlay/{{shard}}.log",
    conda:
        conda_file("overlay")
    container:
        container("overlay")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        recipe=recipe("overlay"),
        container=container_identity("overlay"),
    message:
        "draw on the recordings of {wildcards.shard}"
    script:
        "../scripts/overlay.py"


rule overlays:
    input:
        expand(f"{OUT}/overlay/{{shard}}", shard=PLAN.shards),
    message:
        "all overlays are there"
