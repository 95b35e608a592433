# Long recordings: their faces and landmarks are found in segments, a job each. What comes next,
# tracks first, sees the recording whole: rules/detect.smk and rules/landmarks.smk put it together.
def segments(folder, suffix="parquet"):
    """Input function: the files of all segments of a shard, few shards have any."""

    def files(wildcards):
        names = PLAN.segments_of(wildcards.shard)
        return [f"{OUT}/{folder}/.segments/{name}.{suffix}" for name in names]

    return files


def of_shard(folder):
    """Input function: the table of the shard that a segment's sample is in."""

    def table(wildcards):
        return f"{OUT}/{folder}/{PLAN.segments[wildcards.sample]['shard']}.parquet"

    return table


def segment_range(wildcards):
    """A parameter of a segment's rules: two samples of one shard may have the same inputs."""
    part = PLAN.segment(wildcards.sample, int(wildcards.segment))
    return [part.sample, part.number, part.start, part.end]


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
        mem_mb=1000,
        runtime=120,
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
        mem_mb=1000,
        runtime=120,
    params:
        recipe=recipe("landmarks_segment"),
        container=container_identity("landmarks_segment"),
        segment=segment_range,
    message:
        "find landmarks in segment {wildcards.segment} of {wildcards.sample}"
    script:
        "../scripts/landmarks_segment.py"
