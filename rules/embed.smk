# Identity embeddings of the best frames of each track; the only stage to decode again.
rule embed:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        fit=f"{OUT}/fit/{{shard}}.parquet",
    output:
        embeddings=f"{OUT}/embeddings/{{shard}}.parquet",
    log:
        f"{OUT}/logs/embed/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("embed")
    container:
        container("embed")
    threads: 1
    resources:
        # a ViT-B/16 takes a GB while its weights are loaded
        mem_mb=grows(2000 if recipe("embed").get("backend") == "dinov3" else 1000),
        runtime=grows(120),
        gpu=gpus("embed"),
    params:
        recipe=recipe("embed"),
        container=container_identity("embed"),
    message:
        "embed faces of {wildcards.shard}"
    script:
        "../scripts/embed.py"
