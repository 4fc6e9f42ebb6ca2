"""Checkpoints as hosts, from folders, single files and pipelines, compared with diffusers' own arithmetic."""

import json
import shutil
from types import SimpleNamespace

import accelerate
import diffusers
import pytest
import torch

from corrector.gate.prompt_gate import token_vectors
from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.loading import load_pipeline
from corrector.hosts.pipelines import space_of
from corrector.hosts.prompts import joined
from corrector.latents.devices import device_of
from corrector.latents.fingerprint import same_weights
from corrector.miniature.host import Miniature
from corrector.miniature.model import WEIGHTS
from other_device import other_device
from tiny_checkpoints import BETAS, KINDS, autoencoder, build, pipeline, to_original_layout

PROMPTS = ["a portrait of a Orvane person", "a photo of a Tavelu man in a village"]

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


@pytest.fixture(scope="module")
def hosts(checkpoints):
    return {kind: Checkpoint.load(folder, device="cpu") for kind, folder in checkpoints.items()}


def output(host, x, timestep, conditioning):
    """The UNet's output at x, already scaled, called as diffusers' pipelines call it."""
    tokens, beside = getattr(conditioning, "tokens", conditioning), None
    if host.space == "sdxl":
        height, width = (8 * side for side in x.shape[2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(x))
        beside = dict(text_embeds=conditioning.pooled, time_ids=sizes)
    with torch.no_grad():
        return host.unet(x, timestep, tokens, added_cond_kwargs=beside).sample


def close(one, other):
    """Equal but for rounding: kernels round differently where weights are aligned differently in memory."""
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def sampled(host):
    return host.sample(host.encode(PROMPTS), [1, 2], steps=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_four_functions_have_the_shapes_of_the_contract(hosts, kind, monkeypatch):
    host = hosts[kind]
    monkeypatch.setattr(host, "batch", 2)
    assert host.space == {"sd2": "sd15"}.get(kind, kind) and host.shape == (4, 8, 8)
    assert host.prediction == ("v" if kind == "sd2" else "eps")
    conditioning, seen = host.encode(PROMPTS), []
    assert len(conditioning) == 2

    def hook(denoised, x, sigma, which, conditional):
        assert denoised.shape == x.shape == conditional.shape == (len(which), 4, 8, 8) and sigma.shape == (len(which),)
        seen.append(which.tolist())
        return denoised

    before = host.evaluations
    latents = host.sample(conditioning[:1], [1, 2, 3], steps=2, hook=hook)
    assert host.evaluations - before == 2 * 2 * 3
    assert latents.shape == (3, 4, 8, 8) and seen == [[0, 1], [0, 1], [2], [2]]
    pictures = host.decode(latents)
    assert pictures.shape == (3, 3, 64, 64) and pictures.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_denoised_is_what_diffusers_ddpm_makes_of_the_output(hosts, kind):
    host = hosts[kind]
    name = "v_prediction" if kind == "sd2" else "epsilon"
    scheduler = diffusers.DDPMScheduler(**BETAS, prediction_type=name, clip_sample=False)
    conditioning = host.encode(PROMPTS[:1])
    for timestep in (0, 120, 600, 999):
        alpha = scheduler.alphas_cumprod[timestep]
        sigma = ((1 - alpha) / alpha).sqrt()
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(timestep))
        made = scheduler.step(output(host, x, timestep, conditioning), timestep, x).pred_original_sample
        denoised = host.denoise(x * (1 + sigma**2).sqrt(), sigma[None], conditioning)
        torch.testing.assert_close(denoised, made, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_is_the_loop_of_diffusers_euler_scheduler(checkpoints, kind):
    host, seeds, cfg = Checkpoint.load(checkpoints[kind], device="cpu", size=(64, 128)), [5, 6], 3.0
    scheduler = diffusers.EulerDiscreteScheduler.from_pretrained(
        checkpoints[kind] / "scheduler", use_karras_sigmas=True, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(5)
    both = joined(host.encode(PROMPTS), host.encode(["", ""]))
    x = host.noise(seeds) * (scheduler.sigmas[0] ** 2 + 1).sqrt()
    for timestep in scheduler.timesteps:  # between two training steps: the host takes the nearest, as ComfyUI does
        scaled = scheduler.scale_model_input(x.repeat(2, 1, 1, 1), timestep)
        wanted, plain = output(host, scaled, timestep.round().long(), both).chunk(2)
        x = scheduler.step(plain + cfg * (wanted - plain), timestep, x).prev_sample
    latents = host.sample(both[:2], seeds, cfg=cfg, steps=5)
    assert latents.shape == (2, 4, 16, 8) and host.decode(latents).shape == (2, 3, 128, 64)
    torch.testing.assert_close(latents, x, rtol=1e-4, atol=1e-4)


def test_pictures_are_what_the_autoencoder_makes_of_latents_in_its_own_space(hosts):
    for kind, scale, shift in (("sd15", 0.18215, 0.0), ("sdxl", 0.13025, 0.05), ("sd2", 1.0, 0.0)):
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            own = hosts[kind].autoencoder.decode(latents / scale + shift).sample.clamp(-1, 1)
        torch.testing.assert_close(hosts[kind].decode(latents), own)


def test_the_miniatures_folder_gives_bit_for_bit_what_the_miniature_gives():
    own, host = Miniature(), Checkpoint.load(WEIGHTS, device="cpu")
    assert (host.space, host.shape, host.identity) == (own.space, own.shape, own.identity)
    conditioning = own.encode(PROMPTS)
    assert torch.equal(host.encode(PROMPTS), conditioning)
    sigma = torch.logspace(-1.5, 1.1, 12)
    x = own.noise(range(12)) * sigma.view(-1, 1, 1, 1)
    assert torch.equal(
        host.denoise(x, sigma, conditioning[:1]), own.denoise(x, sigma, conditioning[:1].expand(12, -1, -1))
    )
    latents = own.sample(conditioning, [3, 4], steps=4)
    assert torch.equal(host.sample(conditioning, [3, 4], steps=4), latents)
    pictures = own.decode(latents)
    assert torch.equal(host.decode(latents), pictures)


def test_identity_is_the_same_at_each_load_and_changes_with_weights_size_and_precision(checkpoints, hosts, tmp_path):
    own, folder = hosts["sd15"].identity, checkpoints["sd15"]
    assert json.loads(json.dumps(own)) == own == Checkpoint.load(folder).identity
    assert own == Checkpoint(pipeline("sd15")).identity
    assert own["dtype"] == "float32" and own["shape"] == [4, 8, 8]
    other = pipeline("sd15", seed=1)
    assert Checkpoint(other).identity["checkpoint"] != own["checkpoint"]
    wide = Checkpoint.load(folder, size=(128, 64)).identity
    assert wide["checkpoint"] == own["checkpoint"] and wide["shape"] == [4, 8, 16]
    half = Checkpoint.load(folder, True).identity
    assert same_weights(half["checkpoint"], own["checkpoint"]) and half["dtype"] == "bfloat16"
    assert not same_weights(Checkpoint(other).identity["checkpoint"], own["checkpoint"])
    assert len({host.identity["checkpoint"] for host in hosts.values()}) == 3
    other.unet, other.text_encoder = hosts["sd15"].unet, hosts["sd15"].pipe.text_encoder
    swapped = Checkpoint(other).identity
    assert swapped["vae"] != own["vae"] and swapped["checkpoint"] == own["checkpoint"]


@pytest.mark.parametrize("single", [False, True], ids=["folder", "single file"])
def test_in_half_precision_no_network_is_held_in_another(checkpoints, tmp_path, single):
    folder, path = checkpoints["sdxl"], checkpoints["sdxl"]
    if single:
        path = to_original_layout(folder, tmp_path / "model.safetensors")
    pipe = load_pipeline(path, bf16=True, device="cpu", config=folder, offload=True)  # a CPU offloads nothing
    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert len(networks) == 4 and {network.dtype for network in networks} == {torch.bfloat16}
    host = Checkpoint(pipe)
    assert host.decode(sampled(host)).isfinite().all()


def test_with_offload_a_network_is_on_the_device_only_while_it_computes(checkpoints, hosts, monkeypatch):
    monkeypatch.setattr(torch, "lazy", SimpleNamespace(empty_cache=lambda: None), raising=False)  # diffusers calls it
    with other_device() as other:
        host = Checkpoint.load(checkpoints["sdxl"], bf16=False, device=other, offload=True)
        assert host.device == other and host.identity == hosts["sdxl"].identity
        close(sampled(host).cpu(), sampled(hosts["sdxl"]))
        assert {device_of(host.pipe.text_encoder), device_of(host.autoencoder)} == {torch.device("cpu")}
        close(host.decode(sampled(host)), hosts["sdxl"].decode(sampled(hosts["sdxl"])))


@pytest.mark.parametrize("save", [dict(variant="fp16"), dict(max_shard_size="20KB")], ids=["fp16 only", "in shards"])
def test_half_precision_files_and_shards_are_read(tmp_path, hosts, save):
    host = Checkpoint.load(build("sdxl", tmp_path, **save), device="cpu")
    files = [path.name for path in (tmp_path / "unet").glob("*.safetensors")]
    assert len(files) > 1 if "max_shard_size" in save else "fp16" in files[0]
    assert host.identity == hosts["sdxl"].identity
    assert torch.equal(host.encode(PROMPTS).pooled, hosts["sdxl"].encode(PROMPTS).pooled)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_single_file_gives_the_pictures_of_its_folder(checkpoints, hosts, tmp_path, kind):
    path = to_original_layout(checkpoints[kind], tmp_path / "model.safetensors")
    config = shutil.copytree(checkpoints[kind], tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    host, own = Checkpoint.load(path, device="cpu", config=config), hosts[kind]
    assert host.identity == own.identity
    close(*(token_vectors(one.encode(PROMPTS)) for one in (host, own)))
    close(sampled(host), sampled(own))
    close(host.decode(sampled(own)), own.decode(sampled(own)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_in_memory_is_sampled_as_its_folder_and_left_as_it_is(hosts, kind):
    pipe = pipeline(kind)
    scheduler, before = pipe.scheduler, {**pipe.scheduler.config}
    host = Checkpoint(pipe)
    latents = sampled(host)
    close(latents, sampled(hosts[kind]))
    assert pipe.scheduler is scheduler and {**scheduler.config} == before and host.unet is pipe.unet
    assert not latents.requires_grad and all(p.requires_grad for p in pipe.unet.parameters())


def test_img2img_and_controlnet_pipelines_are_sampled_from_noise(hosts):
    parts = pipeline("sd15").components
    control = diffusers.ControlNetModel.from_unet(parts["unet"])
    for pipe in (
        diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False),
        diffusers.StableDiffusionControlNetPipeline(**parts, controlnet=control, requires_safety_checker=False),
    ):
        assert Checkpoint(pipe).identity == hosts["sd15"].identity
        close(sampled(Checkpoint(pipe)), sampled(hosts["sd15"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_float16_pipeline_stays_float16_and_its_pictures_are_nearly_the_same(hosts, kind):
    pipe, own = pipeline(kind).to(torch.float16), hosts[kind]
    host = Checkpoint(pipe)
    latents, wanted = sampled(host), sampled(own)
    assert latents.dtype == torch.float32 and (latents - wanted).square().mean() < 1e-3 * wanted.square().mean()
    pictures = host.decode(latents)
    assert pictures.dtype == torch.float32 and (pictures - own.decode(latents)).abs().mean() < 0.02
    assert host.dtype == "float16" and pipe.unet.dtype == pipe.vae.dtype == torch.float16


@pytest.mark.parametrize("kind", KINDS)
def test_networks_on_another_device_give_predictions_there_and_pictures_on_the_cpu(hosts, kind):
    own, seen = hosts[kind], []
    x, sigma, conditioning, latents = own.noise([1, 2]), torch.tensor([4.0, 0.5]), own.encode(PROMPTS), sampled(own)
    expected = own.denoise(x, sigma, conditioning)

    def hook(denoised, x, sigma, which, conditional):
        seen.append((denoised.device, conditional.device, x.device, sigma.device, which.device.type))
        return denoised

    with other_device() as other:
        host = Checkpoint(pipeline(kind).to(other))
        assert host.device == other and host.identity == own.identity
        for where in ("cpu", other):
            denoised = host.denoise(x.to(where), sigma.to(where), conditioning.to(where))
            assert denoised.device == other
            close(denoised.cpu(), expected)
            there = host.sample(conditioning.to(where), [1, 2], steps=2, hook=hook)
            assert there.device == other
            close(there.cpu(), latents)
            close(host.decode(there), own.decode(latents))
        assert set(seen) == {(other, other, other, other, "cpu")} and host.decode(latents).device.type == "cpu"


def test_with_sequential_cpu_offload_the_hooks_of_accelerate_move_the_weights(hosts):
    pipe = pipeline("sdxl")
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            accelerate.cpu_offload(part, "cpu")
    host = Checkpoint(pipe)
    assert next(pipe.unet.parameters()).is_meta and host.identity == hosts["sdxl"].identity
    close(sampled(host), sampled(hosts["sdxl"]))
    close(host.decode(sampled(host)), hosts["sdxl"].decode(sampled(host)))
    assert next(pipe.unet.parameters()).is_meta


def test_the_space_is_read_from_the_vae_or_else_from_the_unet(hosts):
    assert {kind: space_of(host.pipe) for kind, host in hosts.items()} == dict(sd15="sd15", sd2="sd15", sdxl="sdxl")
    pipe = pipeline("sdxl")
    pipe.vae = autoencoder(scaling_factor=0.13025)
    assert space_of(pipe) == "sdxl"
    pipe.vae = diffusers.AutoencoderTiny()  # as TAESD for SDXL
    assert space_of(pipe) == "sdxl"
    for name, scale, shift in (("sd3", 1.5305, 0.0609), ("flux", 0.3611, 0.1159)):
        vae = diffusers.AutoencoderKL(norm_num_groups=2, block_out_channels=(4,), latent_channels=16,
                                      scaling_factor=scale, shift_factor=shift)  # fmt: skip
        assert space_of(SimpleNamespace(vae=vae)) == name
    small = dict(norm_num_groups=2, block_out_channels=(4,))
    assert space_of(SimpleNamespace(vae=diffusers.AutoencoderKL(**small), unet=None)) == "sd15"
    assert space_of(SimpleNamespace(vae=diffusers.AutoencoderKL(**small, latent_channels=8))) is None


def test_the_shipped_miniature_is_a_pipeline_of_diffusers():
    pipe, own = diffusers.StableDiffusionPipeline.from_pretrained(WEIGHTS), Miniature()
    host = Checkpoint(pipe)
    assert host.space == "miniature" and host.identity == own.identity
    assert torch.equal(host.encode(PROMPTS), own.encode(PROMPTS))
    options = dict(num_inference_steps=3, guidance_scale=2.0, output_type="latent")
    latents = pipe(PROMPTS, latents=own.noise([1, 2]), **options).images
    assert (latents - own.sample(own.encode(PROMPTS), [1, 2], steps=3)).abs().mean() < 0.05  # timesteps are rounded
