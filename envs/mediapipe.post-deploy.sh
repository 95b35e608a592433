#!/bin/sh
# What mediapipe.yaml lacks, by pip and without what it declares.
set -eu
python -m pip install --no-deps \
    mediapipe==0.10.21 \
    opencv-contrib-python-headless==4.11.0.86 \
    protobuf==4.25.9 \
    lapx==0.11.1
