# Landmarks of every tracked face, and its aligned crop in the same pass over the pixels. Of a long
# recording in segments first, a job each, which are then put together.
rule landmarks_segment:
    input:
        probe=of_shard("probe"),
        detections=of_shard("detections"),
    output:
        landmarks=temp(f"{OUT}/landmarks/.segments/{{sample}}.{{segment}}.parquet"),
        faces=temp(f"{OUT}/faces/.segments/{{sample}}.{{segment}}.h5"),
    log:
        f"{OUT}/logs/landmarks_segment/{{sample}}.{{segment}}.log",
    wildcard_constraints:
        segment="[0-9]+",
    # as below
    cache: CACHE and PLAN.config["dataset"]["keep_crops"]
    conda:
        conda_file("landmarks_segment")
    container:
        container("landmarks_segment")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
        gpu=gpus("landmarks_segment"),
    params:
        recipe=recipe("landmarks_segment"),
        container=container_identity("landmarks_segment"),
        segment=segment_range,
    message:
        "find landmarks in segment {wildcards.segment} of {wildcards.sample}"
    script:
        "../scripts/landmarks_segment.py"


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
        gpu=gpus("landmarks"),
    params:
        recipe=recipe("landmarks"),
        container=container_identity("landmarks"),
    message:
        "find landmarks in {wildcards.shard}"
    script:
        "../scripts/landmarks.py"
