"""Loads ComfyUI's modules on the CPU and our pack as ComfyUI does; helpers to run nodes and to sample."""

import asyncio
import hashlib
import importlib.util
import os
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, os.environ["COMFYUI_PATH"])

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
import comfy.latent_formats  # noqa: E402
import comfy.model_base  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.supported_models  # noqa: E402
import folder_paths  # noqa: E402, F401
import utils.extra_config  # noqa: E402, F401  the host's "utils", before its comfy/ folder joins sys.path

import nodes as host_nodes  # noqa: E402

_spec = importlib.util.spec_from_file_location(
    "rs_pack", REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
)
pack = importlib.util.module_from_spec(_spec)
sys.modules["rs_pack"] = pack
_spec.loader.exec_module(pack)
_extension = asyncio.run(pack.comfy_entrypoint())
NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(_extension.get_node_list())}

from rs_pack.corrector.axis.axis import Axis, Side  # noqa: E402
from rs_pack.corrector.preference.networks import Distilled  # noqa: E402
from rs_pack.corrector.preference.preference import Preference  # noqa: E402


def node(name, /, *args, **kwargs):
    """Execute one of our nodes -> its only output, or all of them."""
    result = NODES[name].execute(*args, **kwargs).result
    return result[0] if len(result) == 1 else result


def correct(model, preference, strength=1.0, vae=None, **advanced):
    """RSCorrector, or RSCorrectorAdvanced with its defaults if one of its settings is given."""
    if not advanced:
        return node("RSCorrector", model, preference, strength, vae)
    defaults = dict(target=1.0, start_percent=0.0, end_percent=1.0, thinning_seed=0, cap=0.0, gate=True)
    return node("RSCorrectorAdvanced", model, preference, strength, vae=vae, **{**defaults, **advanced})


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def sample(model, positive, negative, seed=1, steps=4, cfg=2.0, sampler="euler", scheduler="karras", batch=2,
           size=(16, 16), latent=None, **options):  # fmt: skip
    """KSampler -> latents; asserts that they are finite."""
    latent = latent or {"samples": torch.zeros(batch, 4, *size)}
    out = host_nodes.common_ksampler(model, seed, steps, cfg, sampler, scheduler, positive, negative, latent, **options)
    samples = out[0]["samples"]
    assert samples.isfinite().all()
    return samples


def weights_hash(model):
    digest = hashlib.sha256()
    for name, tensor in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def seeded(network):
    """Give a network seeded weights with which its output is neither empty nor infinite -> the network."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.5 / max(1, parameter[0].numel()) ** 0.5
        parameter.data.copy_(values + (parameter.ndim == 1))
    return network


def small_model(kind, base, dtype=torch.float32, computed=None, **changes):
    """A small model of a kind of `comfy.supported_models`; its conditioning is 16 wide."""
    config = dict(kind.unet_config) | dict(
        image_size=32, in_channels=4, out_channels=4, model_channels=32, channel_mult=(1, 2), num_res_blocks=[1, 1],
        transformer_depth_middle=1, context_dim=16, use_spatial_transformer=True, legacy=False, dtype=dtype,
    ) | changes  # fmt: skip
    config.pop("use_temporal_attention", None)
    config = kind(config)
    config.unet_config |= {"num_heads": 4, "num_head_channels": -1}
    config.set_inference_dtype(dtype, computed)
    model = seeded(base(config)).eval()
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def small_sd15(dtype=torch.float32, computed=None):
    depths = dict(transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1], adm_in_channels=None)
    return small_model(comfy.supported_models.SD15, comfy.model_base.BaseModel, dtype, computed, **depths)


def untrained(space, group="person"):
    """A preference with random weights and no gate, which changes every picture."""
    axis = Axis("test", "test", (group,), ("{group}",), Side("a village", ("village",)), Side("a city", ("city",)))
    with torch.inference_mode(False), torch.random.fork_rng():
        torch.manual_seed(0)
        source = Distilled(space, 1).eval().requires_grad_(False)
    return (Preference(axis, space, source, name=f"untrained {space}", hash="untrained"),)
