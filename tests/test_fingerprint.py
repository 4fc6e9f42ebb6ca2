"""The fingerprint of weights: one checkpoint in any precision, and another one told apart."""

import pytest
import torch

from corrector.latents.fingerprint import fingerprint, identity, same_weights


@pytest.fixture(scope="module")
def weights():
    """Weights as networks have them: of several sizes, with norms of 1, biases of 0, and a table of positions."""
    generator = torch.Generator().manual_seed(0)
    made = {f"{i}.weight": 0.3 / 2**i * torch.randn(32, 8 + i, 3, generator=generator) for i in range(8)}
    made |= {f"{i}.bias": 1e-3 * torch.randn(32, generator=generator) for i in range(8)}
    return made | {"norm.weight": torch.ones(32), "norm.bias": torch.zeros(32), "positions": torch.arange(77)}


def changed(weights, change):
    return {name: change(tensor) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_are_the_same_in_another_precision(weights, precision):
    assert same_weights(fingerprint(weights), fingerprint(changed(weights, lambda tensor: tensor.to(precision))))


@pytest.mark.parametrize("factor", [1.01, 0.99, 1.1, -1.0])
def test_weights_that_were_multiplied_are_others(weights, factor):
    assert not same_weights(fingerprint(weights), fingerprint(changed(weights, lambda tensor: factor * tensor)))


def test_weights_of_other_values_names_shapes_or_tables_are_others(weights):
    first = fingerprint(weights)
    name, tensor = "0.weight", weights["0.weight"]
    others = (
        weights | {name: tensor + 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))},
        {f"x.{key}": value for key, value in weights.items()},
        weights | {name: tensor.flatten()},
        weights | {"positions": torch.arange(77) + 1},
    )
    assert not any(same_weights(first, fingerprint(other)) for other in others)


def test_weights_that_are_offloaded_have_no_fingerprint_and_no_identity(weights):
    offloaded = changed(weights, lambda tensor: tensor.to("meta"))
    assert fingerprint(offloaded) == identity(offloaded, {"patch": 1}) == ""


class Unreadable(torch.Tensor):
    """As quantised weights of other nodes: it has a shape, and no values."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.reshape, torch.Tensor.double, torch.Tensor.tolist):
            raise NotImplementedError
        return super().__torch_function__(function, types, args, kwargs or {})


def test_weights_of_a_kind_that_gives_no_values_have_no_fingerprint_and_no_identity(weights):
    quantised = changed(weights, lambda tensor: tensor.as_subclass(Unreadable))
    assert fingerprint(quantised) == identity(quantised, {"patch": 1}) == ""


class Packed(torch.Tensor):
    """As GGUF weights of other nodes: bytes, which say the shape that they have once they are unpacked."""

    unpacked = None

    @property
    def shape(self):
        return self.unpacked or self.size()

    def detach(self):
        return self


def packed(tensor, seed):
    data = torch.randint(256, (len(tensor), 18), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    made = data.as_subclass(Packed)
    made.unpacked = torch.Size(tensor.shape)
    return made


def test_weights_that_are_packed_into_bytes_are_identified_by_these(weights):
    first, same, other = (changed(weights, lambda tensor, seed=seed: packed(tensor, seed)) for seed in (1, 1, 2))
    assert fingerprint(first) and same_weights(fingerprint(first), fingerprint(same))
    assert not same_weights(fingerprint(first), fingerprint(other))


@pytest.mark.parametrize("precision", (torch.float8_e4m3fn, torch.float8_e5m2))
def test_weights_of_8_bits_have_a_fingerprint(weights, precision):
    first = fingerprint(changed(weights, lambda tensor: tensor.to(precision)))
    second = fingerprint(changed(weights, lambda tensor: (2 * tensor).to(precision)))
    assert first and second and not same_weights(first, second)


def test_the_order_of_the_names_does_not_matter_and_no_weights_have_a_fingerprint_too(weights):
    assert fingerprint(dict(reversed(weights.items()))) == fingerprint(weights)
    assert same_weights(fingerprint({}), fingerprint({})) and not same_weights(fingerprint({}), fingerprint(weights))
