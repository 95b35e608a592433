"""What is in order on this machine and in a study's folder, and how to mend what is not.

`findings` has what is said, `running` how checks are made so that none can hang, `environment` the
packages, `machine` what else runs beside them (GPU, decoders, containers), `slurm` the cluster,
`study` the config with all that it asks for.
"""
