"""Latents: which space they are in, the sigma rules, devices, skin tones, statistics."""
