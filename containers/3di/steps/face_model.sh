#!/bin/bash
# The user's Basel Face Model 2009, made into what the engines read; the file itself is not kept.
# face_model.sh 01_MorphableModel.mat. Wants BFM_SHA256, EXP_PCA_COMMIT, EXP_PCA_SHA256.
set -euo pipefail
here=$(dirname "$0") bfm=$(realpath "$1")
[[ $BFM_SHA256 =~ ^[0-9a-f]{64}$ ]] || { echo "BFM_SHA256 is wanted: sha256sum $1" >&2; exit 1; }
echo "$BFM_SHA256  $bfm" | sha256sum --check --strict --quiet
[[ $EXP_PCA_COMMIT =~ ^[0-9a-f]{40}$ ]] || { echo "EXP_PCA_COMMIT is wanted, whole" >&2; exit 1; }
full=/app/3DI/models lite=/app/3DI_lite
"$here/fetch.sh" "https://raw.githubusercontent.com/Juyong/3DFace/$EXP_PCA_COMMIT/Exp_Pca.bin" \
    "$EXP_PCA_SHA256" "$full/raw/Exp_Pca.bin"
cp "$full/raw/Exp_Pca.bin" "$lite/data/raw/"
ln -sf "$bfm" "$full/raw/01_MorphableModel.mat"
ln -sf "$bfm" "$lite/data/raw/01_MorphableModel.mat"
(cd "$full" && python3 prepare_BFM.py)
(cd "$lite" && python3 prepare_BFM.py)
rm "$full/raw/01_MorphableModel.mat" "$lite/data/raw/01_MorphableModel.mat"
python3 "$here/point_buf.py" "$lite/data/BFMmm-23660"
cp -r "$lite/data/BFMmm-23660" "$lite/models/MMs/"
python3 -m compileall -q /app || true
chmod -R a+rX /app
for folder in "$full/MMs/BFMmm-19830" "$lite/models/MMs/BFMmm-23660" "$lite/data/BFMmm-23660"; do
    [[ -s $folder/X0_mean.dat ]] || { echo "no face model was made in $folder" >&2; exit 1; }
done
