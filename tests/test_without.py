"""The library without files needs PyTorch alone: not what reads and writes files, nor Ray."""

import subprocess
import sys

from studies import ROOT

ABSENT = ("ray", "pyarrow", "pydantic", "pandas", "matplotlib", "torchvision", "huggingface_hub")
"""What may be missing."""

ALONE = f"""
import dataclasses, sys
for name in {ABSENT}:
    sys.modules[name] = None  # Importing it fails.
import numpy as np
import secnn

data = secnn.load_dataset("digits")
few = slice(0, 200)
own = secnn.ImageData.from_splits((data.train_images[few].numpy(), data.train_labels[few].numpy()))
settings = secnn.PRESETS["quick"].for_data(own).reference
settings = dataclasses.replace(settings, epochs=4, rungs=3, kernel="reference")
trial = secnn.Trial(settings, own)
while not trial.done:
    trial.step()
assert trial.expansions, "it shall grow"
assert trial.finish().epochs == 4
copy = secnn.Trial(settings, own)
copy.restore(trial.state())
assert copy.done
assert all(hasattr(secnn, name) for name in secnn.__all__)
print("done")
"""


def test_a_trial_without_files_needs_neither_ray_nor_what_reads_files():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.stdout == "done\n", done.stderr
