"""Preferences: the network that gives the update of a latent, the prompt gate, calibration and file format."""
