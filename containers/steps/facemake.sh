#!/bin/sh
# The command `facemake` of the image of the whole workflow.
# HOME is where the cache goes. Results are links into it, so it must outlive the container: without
# one of the user's own, it is the working directory. Apptainer brings the user's.
set -eu
if [ -z "${APPTAINER_CONTAINER:-}${SINGULARITY_CONTAINER:-}" ]; then
    if [ "${HOME:-/}" = / ] || [ "$HOME" = /root ] || [ ! -w "$HOME" ]; then
        export HOME="$PWD"
    fi
fi
# Snakemake asks for a name, which a number given by `docker run --user` has not.
export USER="${USER:-$(id -u)}"
export PYTHONPATH="/opt/facemake/scripts${PYTHONPATH:+:$PYTHONPATH}"
exec /opt/env/bin/python -m facemake "$@"
