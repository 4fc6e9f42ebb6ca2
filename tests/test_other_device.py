"""The second device of the tests: its values are the CPU's, and it refuses what CUDA refuses."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from other_device import OTHER, OtherDeviceTensor, other_device


@pytest.fixture(autouse=True)
def second_device():
    with other_device():
        yield


def small_network():
    torch.manual_seed(0)
    convolutions = nn.Conv2d(4, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 8, 4, 2, 1)
    return nn.Sequential(*convolutions, nn.PixelShuffle(2), nn.Flatten(), nn.Linear(2 * 8 * 8, 1))


def images(seed=0):
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


OPERATIONS = {
    "shape": lambda x: rearrange(x, "b c (h p) w -> b (c p) h w", p=2)[:, 1:5, ::2],
    "reduction": lambda x: reduce(x, "b c h w -> b c", "max").softmax(dim=1),
    "convolution": lambda x: F.group_norm(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), x[:, :, :3, :3]), 1),
    "size": lambda x: F.interpolate(F.pixel_unshuffle(x, 2), scale_factor=2.0, mode="nearest"),
    "product": lambda x: torch.einsum("bchw,bdhw->bcd", x, F.linear(x, x[0, 0])),
    "choice": lambda x: torch.cat([torch.where(x > 0, x, torch.tensor(0.0)), torch.stack([x, -x])[0]]),
    "in place": lambda x: x.clone().unsqueeze_(0).mul_(2).squeeze_(0).index_fill_(1, x[0, 0, 0, :1].long().abs(), 7.0),
    "mask": lambda x: x[x > 0],
    "index on the CPU": lambda x: x[torch.tensor([2, 0])],
    "created": lambda x: x + torch.arange(8, device=x.device) + torch.tensor([1.5], device=x.device),
    "control flow": lambda x: x / float(x.max()) if (x > 1).any() and len((x > 1).nonzero()) else x[:0],
    "dtype": lambda x: x.half().to(x),
}


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", OPERATIONS)
def test_values_equal_those_of_the_cpu_bit_for_bit(name, mode):
    here, there = images(), images().to(OTHER)
    with mode():
        expected, found = OPERATIONS[name](here), OPERATIONS[name](there)
        assert found.is_inference() == expected.is_inference()
        assert found.device == OTHER and found.stride() == expected.stride()
        assert type(found.cpu()) is torch.Tensor and torch.equal(found.cpu(), expected)
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_tensors_of_two_devices_are_refused_both_ways(mode):
    with mode():
        here, there = images(), images().to(OTHER)
        for first, second in ((here, there), (there, here)):
            for mix in (
                torch.add,
                F.conv2d,
                F.mse_loss,
                lambda a, b: torch.cat([a, b]),
                lambda a, b: a.clone().add_(b),
            ):
                with pytest.raises(RuntimeError, match="found at least two devices, lazy:0 and cpu"):
                    mix(first, second)
        with pytest.raises(RuntimeError, match="two devices"):
            here * there.sum()
        with pytest.raises(RuntimeError, match="two devices"):
            torch.stack([there.sum(), here.sum()])
        with pytest.raises(RuntimeError, match="indices should be either on cpu"):
            here[torch.tensor([0]).to(OTHER)]


def test_a_random_generator_of_the_cpu_is_refused():
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(3, generator=torch.Generator(), device=OTHER)


def test_numpy_is_refused_without_cpu():
    with pytest.raises(TypeError, match=r"Tensor\.cpu\(\)"):
        images().to(OTHER).numpy()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_copies_and_0_dim_tensors_pass_between_devices(mode):
    with mode():
        here, there = torch.zeros(3, 4, 8, 8), images().to(OTHER)
        assert type(there.to(here)) is torch.Tensor and here.to(there).device == OTHER
        here.to(OTHER).fill_(9.0)
        assert torch.equal(here, torch.zeros_like(here))
        assert torch.equal(here.copy_(there), images()) and type(here) is torch.Tensor
        assert torch.equal((there * torch.tensor(2.0)).cpu(), images() * 2)


def trained(device):
    """Weights and their average after a few steps, and the gradient norm of the last."""
    network = small_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, fused=False)
    network.to(device)  # after the optimiser took the parameters, which stay the same objects
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(5):
        optimizer.zero_grad()
        network(images(step).to(device)).square().sum().backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
    assert all(tensor.device == device for tensor in (*average.module.parameters(), norm))
    return [tensor.detach().cpu() for tensor in (*network.parameters(), *average.parameters(), norm)]


def test_training_gives_the_same_weights_as_on_the_cpu():
    for found, expected in zip(trained(OTHER), trained(torch.device("cpu")), strict=True):
        assert torch.equal(found, expected)


def test_a_gradient_can_be_taken_inside_inference_mode():
    def push(network, x):
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            return torch.autograd.grad(network(x).sum(), x)[0]

    network = small_network().to(OTHER)
    with torch.inference_mode():
        there = push(network, images().to(OTHER))
        assert there.device == OTHER
    assert torch.equal(there.cpu(), push(small_network(), images()))


@torch.no_grad()
def test_a_module_moves_there_and_back():
    network, x = small_network(), images()
    expected, parameters = network(x), list(network.parameters())
    network.to(OTHER)
    assert torch.equal(deepcopy(network)(x.to(OTHER)).cpu(), expected)
    network.load_state_dict({name: tensor.cpu() for name, tensor in network.state_dict().items()})
    assert all(isinstance(p, OtherDeviceTensor) and isinstance(p, nn.Parameter) for p in network.parameters())
    network.to("cpu")
    assert all(now is before for now, before in zip(network.parameters(), parameters, strict=True))
    assert torch.equal(network(x), expected)
