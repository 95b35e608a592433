"""The stages: each a pure function from files and a recipe to files, one rule each.

They run from a rule, a notebook or a test alike. A stage imports backends and the kernel, never
another stage.
"""
