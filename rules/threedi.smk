# 3DI and 3DI-lite in the place of detection, landmarks, fit and smoothing: each of their programs is
# a rule, from archives of raw files to an archive of raw files; then tables like any backend's.
#
# These jobs start the install themselves (a folder, an image): leave containers.threedi null unless
# the install is a folder that your container has.
rule threedi_video:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
    output:
        videos=f"{OUT}/3di/.steps/video/{{shard}}.zip",
    log:
        f"{OUT}/logs/threedi_video/{{shard}}.log",
    cache: CACHE
    conda:
        conda_file("threedi_video")
    container:
        container("threedi_video")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        recipe=recipe("threedi_video"),
        container=container_identity("threedi_video"),
    message:
        "see what 3DI is given of {wildcards.shard}"
    script:
        "../scripts/threedi_video.py"


# What the install says of its face model: by asking its programs, once.
rule threedi_model:
    output:
        model=f"{OUT}/3di/.steps/model.npz",
    log:
        f"{OUT}/logs/threedi_model.log",
    cache: CACHE
    conda:
        conda_file("threedi_model")
    container:
        container("threedi_model")
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        recipe=recipe("threedi_model"),
        container=container_identity("threedi_model"),
    message:
        "ask 3DI for its face model"
    script:
        "../scripts/threedi_model.py"


for STEP in STEPS:

    rule:
        name:
            f"threedi_{STEP}"
        input:
            probe=f"{OUT}/probe/{{shard}}.parquet",
            video=f"{OUT}/3di/.steps/video/{{shard}}.zip",
            before=before_step(STEP),
            calibration=calibration_file(),
        output:
            raw=f"{OUT}/3di/.steps/{STEP}/{{shard}}.zip",
        log:
            f"{OUT}/logs/threedi_{STEP}/{{shard}}.log",
        cache: CACHE_RESULTS
        conda:
            conda_file(f"threedi_{STEP}")
        container:
            container(f"threedi_{STEP}")
        threads: 1
        resources:
            mem_mb=grows(8000),
            runtime=grows(1440, most=2880),
            gpu=1 if program(ENGINE, STEP).gpu else 0,
        params:
            recipe=recipe(f"threedi_{STEP}"),
            container=container_identity(f"threedi_{STEP}"),
        message:
            f"3DI: {program(ENGINE, STEP).does} in {{wildcards.shard}}"
        script:
            "../scripts/threedi_step.py"


rule detect:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        video=f"{OUT}/3di/.steps/video/{{shard}}.zip",
        rects=of_steps("detect"),
    output:
        detections=f"{OUT}/detections/{{shard}}.parquet",
    log:
        f"{OUT}/logs/detect/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("detect")
    container:
        container("detect")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        recipe=recipe("detect"),
        container=container_identity("detect"),
    message:
        "3DI's rectangles of {wildcards.shard}"
    script:
        "../scripts/threedi_detections.py"


rule landmarks:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        detections=f"{OUT}/detections/{{shard}}.parquet",
        given=[f"{OUT}/3di/.steps/video/{{shard}}.zip", *of_steps("landmarks")],
    output:
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        faces=crops(f"{OUT}/faces/{{shard}}.h5"),
    log:
        f"{OUT}/logs/landmarks/{{shard}}.log",
    # crops that shall go must not stay in the cache either
    cache: CACHE_RESULTS and PLAN.config["dataset"]["keep_crops"]
    conda:
        conda_file("landmarks")
    container:
        container("landmarks")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        recipe=recipe("landmarks"),
        container=container_identity("landmarks"),
    message:
        "3DI's landmarks of {wildcards.shard}"
    script:
        "../scripts/landmarks.py"


rule fit:
    input:
        probe=f"{OUT}/probe/{{shard}}.parquet",
        video=f"{OUT}/3di/.steps/video/{{shard}}.zip",
        landmarks=f"{OUT}/landmarks/{{shard}}.parquet",
        raw=of_steps(
            *(s for s in STEPS if s not in ("undistort", "detect", "localized"))
        ),
        model=f"{OUT}/3di/.steps/model.npz",
    output:
        **(
            {"smooth": f"{OUT}/smooth/{{shard}}.parquet"}
            if PLAN.enabled("smooth")
            else {}
        ),
        fit=f"{OUT}/fit/{{shard}}.parquet",
        identity=f"{OUT}/identity/{{shard}}.parquet",
    log:
        f"{OUT}/logs/fit/{{shard}}.log",
    cache: CACHE_RESULTS
    conda:
        conda_file("fit")
    container:
        container("fit")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        recipe=recipe("fit"),
        container=container_identity("fit"),
    message:
        "3DI's fit of {wildcards.shard}"
    script:
        "../scripts/threedi_fit.py"


# The raw files themselves, a folder a sample: they are in the archives, so this is not cached.
rule threedi_files:
    input:
        steps=of_steps(*(s for s in STEPS if s != "undistort")),
    output:
        listed=f"{OUT}/3di/.shards/{{shard}}.json",
    log:
        f"{OUT}/logs/threedi_files/{{shard}}.log",
    conda:
        conda_file("threedi_video")
    container:
        container("threedi_video")
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    message:
        "3DI's raw files of {wildcards.shard}"
    script:
        "../scripts/threedi_files.py"
