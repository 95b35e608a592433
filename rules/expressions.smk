# Localized expressions: coefficients that each move one region of the face.
rule expressions:
    input:
        fit=f"{OUT}/fit/{{shard}}.parquet",
    output:
        expressions=f"{OUT}/expressions/{{shard}}.parquet",
    params:
        recipe=recipe("expressions"),
        container=container("expressions"),
    log:
        f"{OUT}/logs/expressions/{{shard}}.log",
    cache: CACHE
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=60,
    conda:
        conda_file("expressions")
    container:
        container("expressions")
    message:
        "localize expressions in {wildcards.shard}"
    script:
        "../scripts/expressions.py"
