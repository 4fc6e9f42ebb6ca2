"""Adapters for Automatic1111 and Forge; `scripts/rs_corrector.py` loads them under a unique module name."""
