"""Training of the gate on the prompt, from text alone."""

import math

import torch
import torch.nn.functional as F

from ..preference.prompt_gate import OUT_OF_SCOPE, PromptGate, token_vectors
from .gate_texts import gate_texts
from .training import optimise

TOKEN_BYTES = 2**29  # of token vectors in training; beyond, half precision and then fewer texts


def train_gate(axis, encode, seed=0, count=4000, steps=800, pooling="attention", **others):
    """Train a gate on text alone -> (gate, held-out accuracies).

    Args:
        axis: Axis.
        encode: `encode(prompts)` -> conditioning [N, T, width].
        seed: of texts, weights and batches.
        count: number of texts, or fewer if they need more than TOKEN_BYTES.
        steps: number of training steps.
        pooling: as for PromptGate.
        others: for `gate_texts`.
    """
    with torch.no_grad():
        size = token_vectors(encode([""]))[0].numel()
    dtype = torch.float32 if 4 * size * count <= TOKEN_BYTES else torch.float16
    count = min(count, TOKEN_BYTES // (dtype.itemsize * size))
    texts = gate_texts(axis, count, seed, **others)
    prompts, groups, explicit = zip(*texts, strict=True)
    with torch.no_grad():
        parts = (token_vectors(encode(prompts[i : i + 100])) for i in range(0, count, 100))
        tokens = torch.cat([part.to("cpu", dtype) for part in parts])
    groups = torch.tensor([g if g != OUT_OF_SCOPE else len(axis.groups) for g in groups])
    explicit = torch.tensor(explicit)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gate = PromptGate(tokens.shape[-1], len(axis.groups), pooling)
    held = count // 10
    gate.centre.copy_(tokens[held:].mean(dim=(0, 1), dtype=torch.float32))
    squares = sum((part.float() - gate.centre).square().sum(dim=(0, 1)) for part in tokens[held:].split(100))
    gate.spread.copy_((squares / (tokens[held:, :, 0].numel() - 1)).sqrt().clamp(min=1e-4))
    generator = torch.Generator().manual_seed(seed)

    def loss_of_step(step):
        chosen = held + torch.randint(count - held, (128,), generator=generator)
        group_logits, explicit_logits = gate(tokens[chosen])
        return F.cross_entropy(group_logits, groups[chosen]) + F.cross_entropy(explicit_logits, explicit[chosen])

    optimise(
        gate, steps, loss_of_step, "gate", 5e-3, lambda step: 1 - step / steps, clip=math.inf, progress=lambda *_: None
    )
    with torch.no_grad():
        group_logits, explicit_logits = gate(tokens[:held])
    accuracy = {
        "group": float((group_logits.argmax(-1) == groups[:held]).float().mean()),
        "explicit": float((explicit_logits.argmax(-1) == explicit[:held]).float().mean()),
        "n": held,
    }
    return gate, accuracy
