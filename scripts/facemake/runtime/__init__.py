"""What a job needs around its science: threads, log, progress, its parent, whole files.

Nothing here changes a result, so the modules of this package, `atomic` apart, are no part of a
stage's code fingerprint (`facemake.fingerprints.code_fingerprint`).
"""
