"""A finished run as a Workflow Run RO-Crate; `facemake.stages.export_crate` writes it."""
