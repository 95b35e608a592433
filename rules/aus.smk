# Intensity and occurrence of facial action units.
rule aus:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        expressions=f"{OUT}/expressions/{{shard}}.parquet",
    output:
        aus=f"{OUT}/aus/{{shard}}.parquet",
    log:
        f"{OUT}/logs/aus/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("aus")
    container:
        container("aus")
    threads: 1
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        recipe=recipe("aus"),
        container=container_identity("aus"),
    message:
        "estimate action units in {wildcards.shard}"
    script:
        "../scripts/aus.py"
