#!/bin/sh
# Makes /opt/env: what the lock has for a stack, by its hashes. It comes from the folder wheels/
# beside this one alone where a pip is in that, else the base image's own pip fetches it.
set -eu

stack=$1
recipe=$(cd "$(dirname "$0")/../.." && pwd)
case $stack in
    core | mediapipe | onnx | onnx-gpu | opencv | dlib | retinaface | retinaface-gpu | threedi)
        locks=stacks/$stack.txt
        ;;
    facenet | train) locks="stacks/$stack.txt stacks/torch-cpu.txt" ;;
    facenet-gpu | train-gpu) locks="stacks/${stack%-gpu}.txt stacks/torch-gpu.txt" ;;
    workflow) locks=default.txt ;;
    cuda) locks="default.txt stacks/cuda.txt" ;;
    serve) locks="serve.txt stacks/onnx.txt" ;;
    serve-cuda) locks="serve.txt stacks/cuda.txt" ;;
    serve-rocm) locks="serve.txt facenet.txt" ;; # PyTorch is the base's
    serve-rknn) locks=serve-rknn.txt ;;
    *)
        echo "no such stack: $stack" >&2
        exit 2
        ;;
esac

python3 -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)) and
    "the base image has Python %d.%d: facemake needs 3.11 or 3.12" % sys.version_info[:2])'
base=
[ "$stack" != serve-rocm ] || base=--system-site-packages
python3 -m venv --without-pip $base /opt/env

wheels=$recipe/containers/wheels
set -- "$wheels"/pip-*.whl
if [ -e "$1" ]; then
    install() { python3 "$pip" --python /opt/env/bin/python install --no-index --find-links "$wheels" "$@"; }
    pip=$1/pip
else
    install() { python3 -m pip --python /opt/env/bin/python install "$@"; }
fi
# What comes as source becomes a wheel for a moment: packing 100 MB of weights would take 10 s.
DIST_EXTRA_CONFIG=$(mktemp)
export DIST_EXTRA_CONFIG
printf '[bdist_wheel]\ncompression = stored\n' >"$DIST_EXTRA_CONFIG"
for lock in build.txt $locks; do
    # PyPI has no build of PyTorch without CUDA; with wheels no index is asked
    index=
    [ "$lock" != stacks/torch-cpu.txt ] || index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
    install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        --no-build-isolation --no-compile --root-user-action ignore \
        ${index:+--extra-index-url "$index"} -r "$recipe/requirements/$lock"
done
rm "$DIST_EXTRA_CONFIG"
# All but the packages' own tests, which are half of it. A file that is no Python of this version is
# left, as pip leaves it.
/opt/env/bin/python -m compileall -qq -j 0 -x '/tests?/' /opt/env/lib || :

case $stack in
    cuda | onnx-gpu | retinaface-gpu | serve-cuda)
        # CUDA's wheels lie where no loader looks
        ls -d /opt/env/lib/python3*/site-packages/nvidia/*/lib >/etc/ld.so.conf.d/facemake-cuda.conf
        ldconfig
        ;;
esac
