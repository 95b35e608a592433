"""The training set: what one example is, which faces become one, and how they are written.

`layout` has the HDF5 file, `quality` the rule that chooses, `splits` who is in which split, `crop`
what moves from the frame into the crop, `fhog` the appearance features, `rows` the tables read side
by side.
"""
