"""Reads a study's logs to its tables and figures; needs neither PyTorch nor Ray."""

import logging
import os

# Figures go to files. A notebook's kernel names a backend of its own here, which need not be
# installed, and Matplotlib refuses to be imported then.
os.environ["MPLBACKEND"] = "agg"

# It warns of a matplotlibrc, which no figure follows, and of folders that it cannot cache in.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
