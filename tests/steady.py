"""Hypothesis with the same examples on every run, and no deadline: a busy machine is slow, and that is no failure."""

from hypothesis import given, settings, strategies

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")

__all__ = ["given", "settings", "strategies"]
