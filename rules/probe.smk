# What each recording of a shard is: decoded frames, time stamps, codec, status.
#
# The recordings are no declared inputs: Snakemake would hash each of them again for its cache and
# stat each of them again for every plan. `samples` carries the ordered list of their SHA-256, which
# the main process keeps by path, size, mtime and inode; a changed recording is a changed parameter.
rule probe:
    output:
        probe=f"{OUT}/probe/{{shard}}.parquet",
    log:
        f"{OUT}/logs/probe/{{shard}}.log",
    cache: CACHE
    conda:
        conda_file("probe")
    container:
        container("probe")
    threads: 1
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        recipe=recipe("probe"),
        container=container_identity("probe"),
        samples=lambda wildcards: PLAN.media[wildcards.shard],
    message:
        "probe {wildcards.shard}"
    script:
        "../scripts/probe.py"
