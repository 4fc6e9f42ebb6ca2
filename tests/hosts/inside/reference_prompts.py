"""Prompts that diffusers predicts for, in test_inside.py, and ComfyUI, in the checks that compare the two."""

PROMPTS = (
    "a portrait of an Orvane person",
    "Tavelu woman, huts, a Cottage, soft light",
    "",
    "naïve café, 8k; a Zendoli man!",
)
