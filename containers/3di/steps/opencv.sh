#!/bin/bash
# OpenCV with CUDA: without it, 3DI finds landmarks on the CPU, many times slower.
# Wants OPENCV_COMMIT, OPENCV_CONTRIB_COMMIT (both of the tag 4.8.1) and CUDA_ARCHS.
set -euo pipefail
here=$(dirname "$0") work=$(mktemp -d)
"$here/clone.sh" https://github.com/opencv/opencv.git "$OPENCV_COMMIT" "$work/opencv"
"$here/clone.sh" https://github.com/opencv/opencv_contrib.git "$OPENCV_CONTRIB_COMMIT" "$work/contrib"
# 4.8.1 compares half precision numbers with doubles, which CUDA 12.2 takes for ambiguous (#23893)
primitives=$work/opencv/modules/dnn/src/cuda4dnn/primitives
sed -i 's/if (weight != 1\.0)/if (weight != static_cast<T>(1.0))/' "$primitives/normalize_bbox.hpp"
sed -i 's/if (nms_iou_threshold > 0)/if (nms_iou_threshold > static_cast<T>(0))/' "$primitives/region.hpp"
cmake -S "$work/opencv" -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX=/usr/local -DCMAKE_CXX_STANDARD=14 \
    -DOPENCV_EXTRA_MODULES_PATH="$work/contrib/modules" \
    -DWITH_CUDA=ON -DWITH_CUDNN=ON -DWITH_CUBLAS=ON -DOPENCV_DNN_CUDA=ON \
    -DENABLE_FAST_MATH=ON -DCUDA_FAST_MATH=ON -DCUDA_ARCH_BIN="$CUDA_ARCHS" \
    -DBUILD_opencv_cudacodec=OFF -DWITH_FFMPEG=ON -DWITH_TBB=ON -DWITH_GTK=OFF -DWITH_QT=OFF \
    -DWITH_GSTREAMER=OFF -DOPENCV_ENABLE_NONFREE=ON -DBUILD_opencv_python2=OFF \
    -DBUILD_opencv_python3=OFF -DBUILD_opencv_java=OFF -DBUILD_TESTS=OFF -DBUILD_PERF_TESTS=OFF \
    -DBUILD_EXAMPLES=OFF
cmake --build "$work/build" --parallel "$(nproc)"
cmake --install "$work/build"
ldconfig
rm -rf "$work"
