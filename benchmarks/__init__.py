"""What facemake costs, measured as ratios in one run: `make bench`, or `python -m benchmarks NAME`.

Absolute figures depend on the machine and on what else it does; each figure here is the CPU time
(or peak memory) of whole processes, imports included, against the same of a reference in the same
run, in turn, as a median.
"""
