"""Preferences: the networks that give log-odds and push of a latent, the prompt gate, calibration and file format."""
