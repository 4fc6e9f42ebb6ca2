"""Sampling without a UI: diffusers checkpoints, LoRA files and the sampler."""
