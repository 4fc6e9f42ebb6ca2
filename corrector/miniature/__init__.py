"""A small Stable-Diffusion-like model of invented peoples with planted stereotypes, for tests and the demo."""
