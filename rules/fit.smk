# Identity per track, pose and expression per frame, of a linear face model.
rule fit:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
    output:
        fit=f"{OUT}/fit/{{shard}}.parquet",
        identity=f"{OUT}/identity/{{shard}}.parquet",
    log:
        f"{OUT}/logs/fit/{{shard}}.log",
    cache: CACHE
    conda:
        conda_file("fit")
    container:
        container("fit")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        recipe=recipe("fit"),
        container=container_identity("fit"),
    message:
        "fit the face model to {wildcards.shard}"
    script:
        "../scripts/fit.py"
