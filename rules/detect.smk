# Faces of every frame, joined to tracks.
rule detect:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        segments=segments("detections"),
    output:
        detections=f"{OUT}/detections/{{shard}}.parquet",
    log:
        f"{OUT}/logs/detect/{{shard}}.log",
    cache: CACHE
    conda:
        conda_file("detect")
    container:
        container("detect")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        recipe=recipe("detect"),
        container=container_identity("detect"),
    message:
        "detect faces in {wildcards.shard}"
    script:
        "../scripts/detect.py"
