"""Command-line interface: `rs-corrector`, or `python -m corrector` in the repository."""
