# Faces of every frame, joined to tracks. Of a long recording they are found in segments first, a job
# each; tracks see the recording whole. With track.identity, tracks by boxes are joined to people.
IDENTIFIES = PLAN.enabled("identify")
TRACKLETS = f"{OUT}/detections/{'.tracklets/' if IDENTIFIES else ''}{{shard}}.parquet"


rule detect_segment:
    input:
        probe=of_shard("probe"),
    output:
        temp(f"{OUT}/detections/.segments/{{sample}}.{{segment}}.parquet"),
    log:
        f"{OUT}/logs/detect_segment/{{sample}}.{{segment}}.log",
    wildcard_constraints:
        segment="[0-9]+",
    cache: CACHE
    conda:
        conda_file("detect_segment")
    container:
        container("detect_segment")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
        gpu=gpus("detect_segment"),
    params:
        recipe=recipe("detect_segment"),
        container=container_identity("detect_segment"),
        segment=segment_range,
    message:
        "detect faces in segment {wildcards.segment} of {wildcards.sample}"
    script:
        "../scripts/detect_segment.py"


rule detect:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        segments=segments("detections"),
    output:
        detections=TRACKLETS,
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
        gpu=gpus("detect"),
    params:
        recipe=recipe("detect"),
        container=container_identity("detect"),
    message:
        "detect faces in {wildcards.shard}"
    script:
        "../scripts/detect.py"


if IDENTIFIES:

    rule identify:
        input:
            probe=f"{OUT}/probe/{{shard}}.parquet",
            tracklets=TRACKLETS,
            references=reference_pictures,
        output:
            detections=f"{OUT}/detections/{{shard}}.parquet",
        log:
            f"{OUT}/logs/identify/{{shard}}.log",
        cache: CACHE
        conda:
            conda_file("identify")
        container:
            container("identify")
        threads: 1
        resources:
            mem_mb=grows(1000),
            runtime=grows(120),
        params:
            recipe=recipe("identify"),
            container=container_identity("identify"),
            references=lambda wildcards: [
                row[:2] for row in PLAN.references.get(wildcards.shard, [])
            ],
        message:
            "tell people apart in {wildcards.shard}"
        script:
            "../scripts/identify.py"
