# Faces as picture files, by a named template; asked for by name (`extract`).
#
# A shard's crops are one archive, so that there are as many files as shards, and the cache has them.
rule extract_crops:
    input:
        **(
            {"landmarks": f"{OUT}/landmarks/{{shard}}.parquet"}
            if recipe("extract_crops")["settings"]["landmarks"]
            else {}
        ),
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
    output:
        table=f"{OUT}/extract/{{shard}}.parquet",
        crops=f"{OUT}/crops/{{shard}}.zip",
    log:
        f"{OUT}/logs/extract_crops/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("extract_crops")
    container:
        container("extract_crops")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        recipe=recipe("extract_crops"),
        container=container_identity("extract_crops"),
    message:
        "cut the faces of {wildcards.shard}"
    script:
        "../scripts/extract_crops.py"


rule extract:
    input:
        stage_tables("extract_crops", "extract"),
        expand(f"{OUT}/crops/{{shard}}.zip", shard=PLAN.shards),
    message:
        "all crops are there"
