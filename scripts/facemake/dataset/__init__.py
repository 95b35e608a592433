"""The training set: what one example is, which faces become one, and how they are written.

`layout` has the HDF5 file, `quality` the rule that chooses, `splits` who is in which split, `crop`
what moves from the frame into the crop, `fhog` the appearance features, `motion` how far a face
moved. Of whole files: `files` reads them, pyfaceau's too, `survey` says what is in one, `checks`
whether it holds what it should (`worst`: a contact sheet), `joining` makes one of several,
`against` compares two; `people` has who is in two splits, `origins` what made the examples.
"""
