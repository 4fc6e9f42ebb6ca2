"""Latent formats and noise levels, and small helpers that several packages share."""
