#!/bin/sh
# What facenet.yaml lacks, by pip and without what it declares.
set -eu
python -m pip install --no-deps \
    facenet-pytorch==2.6.0 \
    requests==2.34.2 \
    tqdm==4.70.1
