"""`conv`, the paper's cell (arXiv:2401.05686, sections 3.2 and 4): what its layers, blocks and head
are, and what the scores and the proposals of `secnn.growth` need to know of their inside."""
