"""Stereotype axes: their JSON format, schema, prompts and loading; axes from what people type."""
