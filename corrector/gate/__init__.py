"""The gate: reads from a prompt which group it names and what it asks for; its training, on text alone."""
