"""The correction of one sampling run: the latent update, the target share and the decision for each picture."""
