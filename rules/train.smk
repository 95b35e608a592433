# The networks that the training set is for; asked for by name (`train`, `evaluate`), no part of `all`.
#
# Not cached: in which order a processor adds up, and with how many threads, is in the last digits of
# a step, and a training lets them grow. What another machine trained is not what this one would have.
rule train_landmark_pose:
    input:
        data=f"{OUT}/dataset/training_data.h5",
    output:
        model=directory(f"{OUT}/models/landmark_pose"),
    log:
        f"{OUT}/logs/train_landmark_pose.log",
    conda:
        conda_file("train_landmark_pose")
    container:
        container("train_landmark_pose")
    # as many as --cores allow: it is one job, for hours
    threads: 8
    resources:
        mem_mb=grows(8000),
        runtime=1440,  # a training goes on from its last epoch
        gpu=gpus("train_landmark_pose"),
    params:
        recipe=recipe("train_landmark_pose"),
        container=container_identity("train_landmark_pose"),
    message:
        "train the network of landmarks and pose"
    script:
        "../scripts/train.py"


rule train_aus:
    input:
        data=f"{OUT}/dataset/training_data.h5",
    output:
        model=directory(f"{OUT}/models/au_prediction"),
    log:
        f"{OUT}/logs/train_aus.log",
    conda:
        conda_file("train_aus")
    container:
        container("train_aus")
    threads: 8
    resources:
        mem_mb=grows(8000),
        runtime=1440,  # a training goes on from its last epoch
        gpu=gpus("train_aus"),
    params:
        recipe=recipe("train_aus"),
        container=container_identity("train_aus"),
    message:
        "train the network of action units"
    script:
        "../scripts/train.py"


rule train:
    input:
        f"{OUT}/models/landmark_pose",
        f"{OUT}/models/au_prediction",
    message:
        "both networks are trained"


rule evaluate:
    input:
        data=f"{OUT}/dataset/training_data.h5",
        landmark_pose=f"{OUT}/models/landmark_pose",
        au_prediction=f"{OUT}/models/au_prediction",
        labels=labels_file(),
    output:
        tables=directory(f"{OUT}/evaluation"),
        page=report(
            f"{OUT}/report/networks.html",
            caption="captions/networks.rst",
            category="Networks",
            labels={"page": "networks"},
        ),
    log:
        f"{OUT}/logs/evaluate.log",
    conda:
        conda_file("evaluate")
    container:
        container("evaluate")
    threads: 2
    resources:
        mem_mb=grows(4000),
        runtime=grows(240),
        gpu=gpus("evaluate"),
    params:
        recipe=recipe("evaluate"),
        looks=report_looks(),
        container=container_identity("evaluate"),
    message:
        "compare the networks with labels"
    script:
        "../scripts/evaluate.py"
