"""What was measured, drawn on the recording itself; and faces hidden for publication.

Everything is read from the tables of a finished run and from the recording; nothing is measured
again. A frame at a time is in memory.
"""
