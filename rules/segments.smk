# Long recordings: their faces and landmarks are found in segments, a job each. What comes next,
# tracks first, sees the recording whole: rules/detect.smk and rules/landmarks.smk put it together.
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
    params:
        recipe=recipe("detect_segment"),
        container=container_identity("detect_segment"),
        segment=segment_range,
    message:
        "detect faces in segment {wildcards.segment} of {wildcards.sample}"
    script:
        "../scripts/detect_segment.py"


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
    # as in rules/landmarks.smk
    cache: CACHE and PLAN.config["dataset"]["keep_crops"]
    conda:
        conda_file("landmarks_segment")
    container:
        container("landmarks_segment")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        recipe=recipe("landmarks_segment"),
        container=container_identity("landmarks_segment"),
        segment=segment_range,
    message:
        "find landmarks in segment {wildcards.segment} of {wildcards.sample}"
    script:
        "../scripts/landmarks_segment.py"
