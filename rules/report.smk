# The report: a page a sample, written shard by shard, and the index of the run.
#
# Pages show what is there and decide nothing: they are no part of byte identity and not cached.
from facemake.report.looks import fingerprint as report_looks


rule report_pages:
    input:
        **(
            {"smooth": f"{OUT}/smooth/{{shard}}.parquet"}
            if PLAN.enabled("smooth")
            else {}
        ),
        **(
            {"overlay": f"{OUT}/overlay/{{shard}}"}
            if PLAN.config["overlay"]["in_report"]
            else {}
        ),
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        faces=f"{OUT}/faces/{{shard}}.h5",
        fit=f"{OUT}/fit/{{shard}}.parquet",
        aus=f"{OUT}/aus/{{shard}}.parquet",
        examples=f"{OUT}/dataset/{{shard}}.h5",
        counts=f"{OUT}/counts/{{shard}}.parquet",
    output:
        pages=embedded_pages(f"{OUT}/report/samples/{{shard}}"),
    log:
        f"{OUT}/logs/report_pages/{{shard}}.log",
    conda:
        conda_file("report")
    container:
        container("report")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        recipe=recipe("report"),
        looks=report_looks(),
        container=container_identity("report"),
        people=lambda wildcards: PLAN.people[wildcards.shard],
    message:
        "write the pages of {wildcards.shard}"
    script:
        "../scripts/report_pages.py"


rule report:
    input:
        manifest=f"{OUT}/dataset/manifest.parquet",
        probe=stage_tables("probe"),
        pages=expand(f"{OUT}/report/samples/{{shard}}", shard=PLAN.shards),
        # their recipes are in no other file that is read here
        smooth=stage_tables("smooth")[:1],
        expressions=stage_tables("expressions")[:1],
        embeddings=stage_tables("embed", "embeddings")[:1],
        people=people_table("warn", "refuse"),
    output:
        index=report(
            f"{OUT}/report/index.html",
            caption="captions/index.rst",
            category="Overview",
            labels={"page": "all samples"},
        ),
    log:
        f"{OUT}/logs/report.log",
    conda:
        conda_file("report")
    container:
        container("report")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        recipe=recipe("report"),
        looks=report_looks(),
        container=container_identity("report"),
        networks=networks_page(),
    message:
        "write the report"
    script:
        "../scripts/report.py"
