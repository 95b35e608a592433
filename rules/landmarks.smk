# Landmarks of every tracked face, and its aligned crop in the same pass over the pixels.
rule landmarks:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
        segments=segments("landmarks"),
        segment_faces=segments("faces", "h5"),
    output:
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        faces=crops(f"{OUT}/faces/{{shard}}.h5"),
    log:
        f"{OUT}/logs/landmarks/{{shard}}.log",
    # crops that shall go must not stay in the cache either
    cache: CACHE and PLAN.config["dataset"]["keep_crops"]
    conda:
        conda_file("landmarks")
    container:
        container("landmarks")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        recipe=recipe("landmarks"),
        container=container_identity("landmarks"),
    message:
        "find landmarks in {wildcards.shard}"
    script:
        "../scripts/landmarks.py"
