#!/bin/bash
# Ubuntu's compilers and libraries, and Python's packages by hash.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends \
    build-essential ca-certificates curl freeglut3-dev git libatlas-base-dev \
    libavcodec-dev libavformat-dev libavutil-dev libboost-all-dev libeigen3-dev libgl1-mesa-dev \
    libglu1-mesa-dev libhdf5-dev libjpeg-dev liblapacke-dev libopenblas-dev libpng-dev \
    libprotobuf-dev libswscale-dev libtbb-dev libtiff-dev libwebp-dev pkg-config \
    protobuf-compiler python-is-python3 python3 python3-dev python3-pip
rm -rf /var/lib/apt/lists/*
here=$(dirname "$0")
install=(python3 -m pip install --no-cache-dir --disable-pip-version-check --require-hashes)
"${install[@]}" --requirement "$here/../pip.txt"
"${install[@]}" --only-binary :all: --requirement "$here/../requirements.txt"
