#!/bin/sh
# What retinaface-gpu.yaml lacks, by pip and without what it declares.
set -eu
python -m pip install --no-deps \
    retina-face==0.0.19 \
    gdown==6.5.1 \
    beautifulsoup4==4.15.0 \
    filelock==4.3.1 \
    PySocks==1.7.1 \
    requests==2.34.2 \
    soupsieve==2.10 \
    tqdm==4.70.1
