# The HDF5 training set: examples of each shard, then all of them in one file, and the manifest.
rule dataset:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        faces=f"{OUT}/faces/{{shard}}.h5",
        fit=f"{OUT}/fit/{{shard}}.parquet",
        aus=f"{OUT}/aus/{{shard}}.parquet",
        raw=of_steps(*STEPS),
    output:
        examples=f"{OUT}/dataset/{{shard}}.h5",
        counts=f"{OUT}/counts/{{shard}}.parquet",
    log:
        f"{OUT}/logs/dataset/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("dataset")
    container:
        container("dataset")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        recipe=recipe("dataset"),
        container=container_identity("dataset"),
        people=lambda wildcards: PLAN.people[wildcards.shard],
        excluded=lambda wildcards: PLAN.excluded.get(wildcards.shard, []),
    message:
        "write the examples of {wildcards.shard}"
    script:
        "../scripts/dataset.py"


# Who looks like whom, over all samples, against the subjects and splits of the sheet.
rule people:
    input:
        embeddings=stage_tables("embed", "embeddings"),
        probe=stage_tables("probe"),
        detections=stage_tables("detect", "detections"),
    output:
        f"{OUT}/dataset/people.parquet",
    log:
        f"{OUT}/logs/people.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("people")
    container:
        container("people")
    threads: 1
    resources:
        # two vectors of a track, of 512 numbers and six tracks a sample
        mem_mb=grows(1000 + PLAN.samples // 40),
        runtime=grows(120),
    params:
        recipe=recipe("people"),
        container=container_identity("people"),
        shards=PLAN.shards,
        people=PLAN.people,
        left_out=PLAN.left_out,
    message:
        "compare the people of all samples"
    script:
        "../scripts/people.py"


rule merge_dataset:
    input:
        people=people_table("refuse"),
        examples=expand(f"{OUT}/dataset/{{shard}}.h5", shard=PLAN.shards),
    output:
        f"{OUT}/dataset/training_data.h5",
    log:
        f"{OUT}/logs/merge_dataset.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("merge_dataset")
    container:
        container("merge_dataset")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        recipe=recipe("merge_dataset"),
        container=container_identity("merge_dataset"),
        shards=PLAN.shards,
    message:
        "merge the training set"
    script:
        "../scripts/merge_dataset.py"


rule manifest:
    input:
        counts=stage_tables("dataset", "counts"),
    output:
        f"{OUT}/dataset/manifest.parquet",
    log:
        f"{OUT}/logs/manifest.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("manifest")
    container:
        container("manifest")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        recipe=recipe("manifest"),
        container=container_identity("manifest"),
        shards=PLAN.shards,
        people=PLAN.people,
    message:
        "write the manifest"
    script:
        "../scripts/manifest.py"


# Fails where too many samples gave nothing: after the manifest, which stays. It names the machine,
# so it is neither cached nor compared.
rule verdict:
    input:
        manifest=f"{OUT}/dataset/manifest.parquet",
        people=people_table("warn", "refuse"),
    output:
        report(
            f"{OUT}/dataset/manifest.json",
            caption="captions/verdict.rst",
            category="Overview",
            labels={"page": "training set"},
        ),
    log:
        f"{OUT}/logs/verdict.log",
    conda:
        conda_file("manifest")
    container:
        container("manifest")
    threads: 1
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        max_failed_fraction=PLAN.config["max_failed_fraction"],
    message:
        "judge the run"
    script:
        "../scripts/verdict.py"


rule training_set:
    input:
        f"{OUT}/dataset/training_data.h5",
        f"{OUT}/dataset/manifest.parquet",
        f"{OUT}/dataset/manifest.json",
        people_table("warn", "refuse"),
    message:
        "the training set is complete"
