#!/bin/bash
# 3DI in /app/3DI, without its face model. Wants FULL_COMMIT and CUDA_ARCHS.
set -euo pipefail
here=$(dirname "$0") work=$(mktemp -d)
"$here/clone.sh" https://github.com/compsygroup/3DI.git "$FULL_COMMIT" "$work/3DI"
# It is written for one GPU of 2016, and would be translated for others in every run.
archs=$(tr -d . <<< "$CUDA_ARCHS" | tr ' ' ';')
sed -i "s/CUDA_ARCHITECTURES 61/CUDA_ARCHITECTURES \"$archs\"/" "$work/3DI/src/CMakeLists.txt"
cd "$work/3DI/build"
cmake ../src
cmake --build . --target all --parallel "$(nproc)"
rm -rf CMakeFiles CMakeCache.txt
tar --extract --gzip --no-same-owner --directory models --file models/lmodels.tar.gz
rm models/lmodels.tar.gz
chmod +x scripts/*.py
mkdir -p /app models/raw
mv "$work/3DI/build" /app/3DI
rm -rf "$work"
for program in video_undistort video_detect_face video_detect_landmarks video_learn_identity \
    video_from_saved_identity scripts/{save_identity_and_shape,total_variance_rec}.py \
    scripts/{total_variance_rec_pose,produce_canonicalized_3Dlandmarks}.py \
    scripts/compute_local_exp_coefficients.py; do
    [[ -x /app/3DI/$program ]] || { echo "no /app/3DI/$program was made" >&2; exit 1; }
done
