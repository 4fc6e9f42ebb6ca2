"""Stereotype axes: their JSON format, schema, prompts and loading."""
