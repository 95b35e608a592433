# Localized expressions: coefficients that each move one region of the face.
rule expressions:
    input:
        # 3DI's own localized expressions, and what its install says of its face model
        **engine_files(),
        # whichever it is, its recipe is in the table's metadata
        fit=f"{OUT}/{'smooth' if PLAN.enabled('smooth') else 'fit'}/{{shard}}.parquet",
        basis=[
            os.path.expanduser(p) for p in [PLAN.config["expressions"]["basis"]] if p
        ],
    output:
        expressions=f"{OUT}/expressions/{{shard}}.parquet",
    log:
        f"{OUT}/logs/expressions/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("expressions")
    container:
        container("expressions")
    threads: 1
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        recipe=recipe("expressions"),
        container=container_identity("expressions"),
    message:
        "localize expressions in {wildcards.shard}"
    script:
        "../scripts/expressions.py"
