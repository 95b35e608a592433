#!/bin/bash
# 3DI-lite in /app/3DI_lite, without its face model; after full.sh, of which it uses the detectors.
# Wants LITE_COMMIT, NVDIFFRAST_COMMIT, INSIGHTFACE_COMMIT, CUDA_ARCHS and the SHA-256 of what it
# downloads: BACKBONE_SHA256, MEDIUM_SHA256, SEPARATED_SHA256, RESNET_SHA256.
set -euo pipefail
here=$(dirname "$0") work=$(mktemp -d) lite=/app/3DI_lite
"$here/clone.sh" https://github.com/sariyanidi/FacialBasis.git "$LITE_COMMIT" "$lite"
"$here/clone.sh" https://github.com/deepinsight/insightface.git "$INSIGHTFACE_COMMIT" "$work/insightface"
cp -r "$work/insightface/recognition/arcface_torch" "$lite/models/"

# nvdiffrast compiles itself when it is first used, into the home folder. Here that is done once, and
# what came of it is found by Python: a container is read-only and may belong to any user.
"$here/clone.sh" https://github.com/NVlabs/nvdiffrast.git "$NVDIFFRAST_COMMIT" "$work/nvdiffrast"
python3 -m pip install --no-deps --no-build-isolation --no-cache-dir "$work/nvdiffrast"
python3 "$here/compile_nvdiffrast.py"

from=https://sariyanidi.com/dbox/3DIlite
medium=medium_model15.00combined_celeb_ytfacesresnet50139979True1e-05-2-BFMmm-23660UNL_STORED.pth
separated=sep_modelv3SP15.00combined_celeb_ytfacesresnet501e-052True139979_V2.pth
resnet=resnet50-0676ba61.pth
"$here/fetch.sh" "$from/backbone.pth" "$BACKBONE_SHA256" "$lite/checkpoints/backbone.pth"
"$here/fetch.sh" "$from/$medium" "$MEDIUM_SHA256" "$lite/checkpoints/$medium"
"$here/fetch.sh" "$from/$separated" "$SEPARATED_SHA256" "$lite/checkpoints/$separated"
"$here/fetch.sh" "$from/$resnet" "$RESNET_SHA256" "$lite/models/checkpoints/$resnet"

cp /app/3DI/video_{undistort,detect_face,detect_landmarks} "$lite/"
cp /app/3DI/scripts/produce_canonicalized_3Dlandmarks.py "$lite/"
cp -r /app/3DI/configs "$lite/"
mkdir -p "$lite/models/MMs" "$lite/data/raw"
for path in /app/3DI/models/*; do
    case $(basename "$path") in
        MMs | raw | cameras | *.py | README.md) ;;
        *) cp -r --no-clobber "$path" "$lite/models/" ;;
    esac
done
chmod +x "$lite"/{process_video,produce_canonicalized_3Dlandmarks,compute_local_exp_coefficients}.py
rm -rf "$work"
