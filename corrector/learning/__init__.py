"""Learning a preference from a checkpoint: pairs, training, calibration and report."""
