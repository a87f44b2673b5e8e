"""From a study's logs to its tables and figures; needs neither PyTorch nor Ray."""
