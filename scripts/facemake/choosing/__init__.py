"""Which detector to choose: all that are installed on the user's own pictures, side by side.

Nobody has drawn the faces by hand, so the detectors judge one another: a face is one that several
of them find. That says which detector misses what others see, and which sees what no other does; it
cannot see a face that all of them miss.
"""
