# Pose and expression smoothed through time; left out where fit.smoothing is 0.
rule smooth:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        fit=f"{OUT}/fit/{{shard}}.parquet",
    output:
        smooth=f"{OUT}/smooth/{{shard}}.parquet",
    log:
        f"{OUT}/logs/smooth/{{shard}}.log",
    cache: CACHE
    conda:
        conda_file("smooth")
    container:
        container("smooth")
    threads: 1
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        recipe=recipe("smooth"),
        container=container_identity("smooth"),
    message:
        "smooth pose and expression in {wildcards.shard}"
    script:
        "../scripts/smooth.py"
