"""`separable`, the cell that pays: residual units of pointwise and depthwise convolutions, after
BSConv (arXiv:2003.13549), each of which starts as the identity (arXiv:1706.02677, section 5.1).
"""
