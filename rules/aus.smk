# Intensity and occurrence of facial action units: from expressions, or from the crops.
rule aus:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        expressions=f"{OUT}/expressions/{{shard}}.parquet",
        faces=(
            f"{OUT}/faces/{{shard}}.h5"
            if PLAN.config["aus"]["backend"] == "network"
            else []
        ),
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
        gpu=gpus("aus"),
    params:
        recipe=recipe("aus"),
        container=container_identity("aus"),
    message:
        "estimate action units in {wildcards.shard}"
    script:
        "../scripts/aus.py"
