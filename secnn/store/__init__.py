"""What does a trial leave, and how is it read again?

`checkpoint` holds a network or a whole trial in one file, `ladder` the networks of all sizes that
one trial leaves, `record` what it tells of each epoch and candidate (the paper's table is made of
these), `export` other programs' formats.
"""
