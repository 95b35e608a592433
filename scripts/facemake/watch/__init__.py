"""Watching a run: which samples are finished, running, waiting, failed and why.

Everything is read from files of the working directory, so it works beside a run, after it, after
it was killed, and from another machine that sees the same files.
"""
