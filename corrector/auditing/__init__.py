"""Audits: what a checkpoint draws for each group of an axis, measured, judged and reported."""
