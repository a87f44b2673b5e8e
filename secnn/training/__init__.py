"""How does a trial go (arXiv:2401.05686, section 4)?

`config` is everything that decides it, `presets` the settings to start from. `epoch` is one pass
over the images, `learner` the network with its optimizer and schedule, `graph` a recorded step;
`trial` puts them together and grows the network, `audit` writes down why.
"""

from secnn.training.config import TrialConfig
from secnn.training.trial import Trial, run_trial

__all__ = ["Trial", "TrialConfig", "run_trial"]
