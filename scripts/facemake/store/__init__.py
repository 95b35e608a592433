"""The store of the artifact cache: what is in it, who uses it, and what of it may go.

Snakemake writes the entries (`KEY.parquet`, or `KEY_faces.h5` where a job has several files) and
makes results links to them. What it keeps no account of is beside them: `.directories/` has a file
for each results folder that uses the store, and `.lock` is held, shared, by every process that may
link to an entry, so that none is removed under its hands.
"""
