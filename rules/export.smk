# Results in the file formats of other systems; asked for by name (`export`), as `export.formats` says.
#
# A format's files of a shard are packed into one archive, which the cache keeps; the files themselves
# lie beside the lists, which are what a shard's job declares. 3DI's formats are not packed and not
# cached: a list from the cache would be one of files that are not there.
from facemake.exports import PACKED, TABLES, WHOLE, bids_tables, tables_of

FORMATS = [form for form in PACKED if PLAN.enabled(f"export_{form}")]
EVERY_TABLE = [(stage, folder) for folder, stage in TABLES.items()]


for FORM in FORMATS:

    rule:
        name:
            f"export_{FORM}"
        input:
            **{
                table: f"{OUT}/{table}/{{shard}}.parquet"
                for table in tables_of(FORM, PLAN.config)
            },
        output:
            pack=f"{OUT}/export/{FORM}/.packs/{{shard}}.zip",
        log:
            f"{OUT}/logs/export_{FORM}/{{shard}}.log",
        cache: CACHE_RESULTS
        conda:
            conda_file(f"export_{FORM}")
        container:
            container(f"export_{FORM}")
        threads: 1
        resources:
            mem_mb=grows(600),
            runtime=grows(60),
        params:
            recipe=recipe(f"export_{FORM}"),
            container=container_identity(f"export_{FORM}"),
        message:
            f"export {{wildcards.shard}} as {FORM}"
        script:
            "../scripts/export_format.py"

    rule:
        name:
            f"export_{FORM}_files"
        input:
            pack=f"{OUT}/export/{FORM}/.packs/{{shard}}.zip",
        output:
            listed=f"{OUT}/export/{FORM}/.shards/{{shard}}.json",
        log:
            f"{OUT}/logs/export_{FORM}_files/{{shard}}.log",
        conda:
            conda_file(f"export_{FORM}")
        container:
            container(f"export_{FORM}")
        threads: 1
        resources:
            mem_mb=grows(400),
            runtime=grows(60),
        message:
            f"{FORM} files of {{wildcards.shard}}"
        script:
            "../scripts/export_files.py"


if PLAN.enabled("export_3di"):

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


if PLAN.enabled("export_bids"):

    rule export_bids:
        input:
            probe=stage_tables("probe"),
            landmarks=stage_tables("landmarks"),
            tables=[stage_tables(TABLES[t], t) for t in bids_tables(PLAN.recipes)],
        output:
            folder=directory(f"{OUT}/export/bids"),
        log:
            f"{OUT}/logs/export_bids.log",
        conda:
            conda_file("export_bids")
        container:
            container("export_bids")
        threads: 1
        resources:
            mem_mb=grows(1000),
            runtime=grows(240),
        params:
            recipe=recipe("export_bids"),
            container=container_identity("export_bids"),
            people=PLAN.people,
        message:
            "lay all tables out as BIDS does"
        script:
            "../scripts/export_bids.py"


if PLAN.enabled("export_rocrate"):

    rule export_rocrate:
        input:
            rules.training_set.input,
            rules.report.output,
            [stage_tables(*one) for one in EVERY_TABLE],
        output:
            folder=directory(f"{OUT}/export/rocrate"),
        log:
            f"{OUT}/logs/export_rocrate.log",
        conda:
            conda_file("export_rocrate")
        container:
            container("export_rocrate")
        threads: 1
        resources:
            mem_mb=grows(1000),
            runtime=grows(240),
        params:
            recipe=recipe("export_rocrate"),
            container=container_identity("export_rocrate"),
        message:
            "describe the run as an RO-Crate"
        script:
            "../scripts/export_rocrate.py"


rule export:
    input:
        expand(
            f"{OUT}/export/{{form}}/.shards/{{shard}}.json",
            form=[*FORMATS, *(["3di"] if PLAN.enabled("export_3di") else [])],
            shard=PLAN.shards,
        ),
        [f"{OUT}/export/{form}" for form in WHOLE if PLAN.enabled(f"export_{form}")],
        # 3DI's results in its own formats are its own files
        raw_files(),
    message:
        "all exports are there"
