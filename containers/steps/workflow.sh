#!/bin/sh
# Puts the checkout, beside this folder, to /opt/facemake in the images of the whole workflow and of
# the service.
# facemake is no package of /opt/env: a job takes it from the workflow that started it, which an
# installed one would hide.
set -eu

recipe=$(cd "$(dirname "$0")/../.." && pwd)
case $1 in workflow | cuda | serve | serve-*) ;; *) exit 0 ;; esac
mkdir /opt/facemake
for entry in Snakefile rules scripts envs config profiles pyproject.toml README.md LICENSE CITATION.cff; do
    cp -r "$recipe/$entry" /opt/facemake/
done
# what `facemake doctor` holds the packages against
lock=default
[ "$1" != serve-rknn ] || lock=serve-rknn
mkdir /opt/facemake/requirements
cp "$recipe/requirements/$lock.txt" /opt/facemake/requirements/default.txt
chmod -R a+rX /opt/facemake
cp "$recipe/containers/steps/facemake.sh" /usr/local/bin/facemake
/opt/env/bin/python -m compileall -q /opt/facemake/scripts
