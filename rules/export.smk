# The native engine's results in the file formats of other systems; asked for by name (`export`).
#
# The files of a sample lie beside the lists, which are what a shard's job declares. They are not
# cached: a list from the cache would be one of files that are not there.
rule export_3di:
    input:
        **(
            {"smooth": f"{OUT}/smooth/{{shard}}.parquet"}
            if PLAN.enabled("smooth")
            else {}
        ),
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        fit=f"{OUT}/fit/{{shard}}.parquet",
    output:
        files=f"{OUT}/export/3di/.shards/{{shard}}.json",
    log:
        f"{OUT}/logs/export_3di/{{shard}}.log",
    conda:
        conda_file("export_3di")
    container:
        container("export_3di")
    threads: 1
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        recipe=recipe("export_3di"),
        container=container_identity("export_3di"),
    message:
        "export {wildcards.shard} in 3DI's formats"
    script:
        "../scripts/export_3di.py"


rule export:
    input:
        expand(f"{OUT}/export/3di/.shards/{{shard}}.json", shard=PLAN.shards),
