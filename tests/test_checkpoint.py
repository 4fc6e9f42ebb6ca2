"""Checkpoints as hosts, from folders, single files and pipelines, compared with diffusers' own arithmetic."""

import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import accelerate
import diffusers
import pytest
import torch
import transformers
from PIL import Image
from transformers import CLIPTextModel

from corrector.cli import commands as cli
from corrector.cli import learning as cli_learning
from corrector.correction.sampled import sample_corrected
from corrector.correction.update import Settings
from corrector.hosts.checkpoint import Checkpoint, chunks_of, space_of
from corrector.hosts.prompts import Prompts
from corrector.latent_space import folders
from corrector.learning import learn as learning
from corrector.miniature.host import Miniature
from corrector.miniature.model import WEIGHTS, load_tokenizer
from corrector.preference.file import load_preference, save_preference
from corrector.preference.prompt_gate import token_vectors
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
def test_the_four_functions_have_the_shapes_of_the_contract(hosts, kind):
    host = hosts[kind]
    assert host.space == {"sd2": "sd15"}.get(kind, kind) and host.shape == (4, 8, 8)
    assert host.prediction == ("v" if kind == "sd2" else "eps")
    conditioning, seen, done = host.encode(PROMPTS), [], []
    assert len(conditioning) == 2

    def hook(denoised, x, sigma, which, conditional):
        assert denoised.shape == x.shape == conditional.shape == (len(which), 4, 8, 8) and sigma.shape == (len(which),)
        seen.append(which.tolist())
        return denoised

    before = host.evaluations
    latents = host.sample(conditioning[:1], [1, 2, 3], steps=2, hook=hook, batch=2, progress=done.append)
    assert host.evaluations - before == 2 * 2 * 3
    assert latents.shape == (3, 4, 8, 8) and seen == [[0, 1], [0, 1], [2], [2]] and done == [2, 1]
    pictures = host.decode(latents)
    assert pictures.shape == (3, 3, 64, 64) and pictures.abs().max() <= 1
    assert host.encode_pictures(pictures).shape == latents.shape


def test_conditionings_are_those_of_diffusers_pipelines(checkpoints, hosts):
    tokenizer = load_tokenizer(WEIGHTS / "tokenizer")
    ids = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    for kind, width in (("sd15", 16), ("sd2", 24)):
        own = CLIPTextModel.from_pretrained(checkpoints[kind] / "text_encoder")
        conditioning = hosts[kind].encode(PROMPTS)
        assert conditioning.shape == (2, 77, width)
        with torch.no_grad():
            assert torch.equal(conditioning, own(ids)[0])
    with torch.no_grad():
        both = hosts["sdxl"].pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    tokens, _, pooled, _ = both
    conditioning = hosts["sdxl"].encode(PROMPTS)
    assert torch.equal(conditioning.tokens, tokens) and tokens.shape == (2, 77, 40)
    assert torch.equal(conditioning.pooled, pooled) and pooled.shape == (2, 20)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_long_prompt_is_encoded_in_chunks_between_words_and_a_short_one_beside_it_is_repeated(checkpoints, kind):
    host = Checkpoint.load(checkpoints[kind])
    long, short = " ".join(["a person in a village"] * 40), PROMPTS[0]
    parts = chunks_of(host.pipe.tokenizer, long)
    assert len(parts) > 1 and " ".join(parts) == long
    alone = [token_vectors(host.encode([text])) for text in (*parts, short)]
    both = token_vectors(host.encode([long, short]))
    assert torch.equal(both[:1], torch.cat(alone[:-1], dim=1))
    assert torch.equal(both[1:], alone[-1].repeat(1, both.shape[1] // 77, 1))
    # Repeated token vectors change nothing in cross-attention, nor does the negative prompt's length.
    latents = host.sample(host.encode([long, short]), [1, 2], cfg=2.0, steps=2)
    torch.testing.assert_close(
        latents[1:], host.sample(host.encode([short]), [2], cfg=2.0, steps=2), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_many_texts_are_encoded_together_and_each_is_as_long_as_alone(checkpoints, kind):
    host = Checkpoint.load(checkpoints[kind])
    texts = ["", " ".join(["a person in a village"] * 40), *PROMPTS] * 6
    found = list(host.encode_each(texts))
    alone = [token_vectors(host.encode([text]))[0] for text in texts[:4]]
    assert len(found) == len(texts) and len(alone[1]) > len(alone[0]) == 77
    for vectors, wanted in zip(found, alone * 6, strict=True):
        torch.testing.assert_close(vectors, wanted, rtol=1e-4, atol=1e-5)


def test_prompts_are_indexed_and_joined_like_a_tensor(hosts):
    prompts = hosts["sdxl"].encode([*PROMPTS, ""])
    for index in (slice(1, 2), torch.tensor([2, 0]), torch.tensor([True, False, True])):
        assert torch.equal(prompts[index].tokens, prompts.tokens[index])
        assert torch.equal(prompts[index].pooled, prompts.pooled[index])
    assert len(prompts[1]) == 1 and len(prompts[:1].expand(5, -1, -1)) == 5
    joined = torch.cat([prompts[:1], prompts[1:]])
    assert isinstance(joined, Prompts) and torch.equal(joined.pooled, prompts.pooled)


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


def test_a_v_model_that_knows_the_velocity_knows_the_picture(hosts, monkeypatch):
    host, generator = hosts["sd2"], torch.Generator().manual_seed(0)
    scheduler = diffusers.DDPMScheduler(**BETAS, prediction_type="v_prediction")
    x0, noise = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    timestep = torch.tensor([10, 400, 900])
    sigma = host.sigmas[timestep]
    monkeypatch.setattr(host, "_output", lambda *_: scheduler.get_velocity(x0, noise, timestep))
    denoised = host.denoise(x0 + sigma.view(-1, 1, 1, 1) * noise, sigma, host.encode(PROMPTS[:1]))
    torch.testing.assert_close(denoised, x0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_is_the_loop_of_diffusers_euler_scheduler(checkpoints, kind):
    host, seeds, cfg = Checkpoint.load(checkpoints[kind], device="cpu", size=(64, 128)), [5, 6], 3.0
    scheduler = diffusers.EulerDiscreteScheduler.from_pretrained(
        checkpoints[kind] / "scheduler", use_karras_sigmas=True, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(5)
    both = torch.cat([host.encode(PROMPTS), host.encode(["", ""])])
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
            read = hosts[kind].autoencoder.encode(own)
        torch.testing.assert_close(hosts[kind].decode(latents), own)
        z = read.latents if kind == "sd2" else read.latent_dist.mode()
        torch.testing.assert_close(hosts[kind].encode_pictures(own), (z - shift) * scale)


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
    assert torch.equal(host.encode_pictures(pictures), own.encode_pictures(pictures))


def test_identity_is_the_same_at_each_load_and_changes_with_weights_size_and_precision(checkpoints, hosts, tmp_path):
    own, folder = hosts["sd15"].identity, checkpoints["sd15"]
    assert (
        json.loads(json.dumps(own)) == own == Checkpoint.load(folder).identity == Checkpoint(pipeline("sd15")).identity
    )
    assert len(own["checkpoint"]) == 16 and own["dtype"] == "float32" and own["shape"] == [4, 8, 8]
    other = pipeline("sd15", seed=1)
    assert Checkpoint(other).identity["checkpoint"] != own["checkpoint"]
    wide = Checkpoint.load(folder, size=(128, 64)).identity
    assert wide["checkpoint"] == own["checkpoint"] and wide["shape"] == [4, 8, 16]
    half = Checkpoint.load(folder, True).identity
    assert half["checkpoint"] != own["checkpoint"] and half["dtype"] == "bfloat16"
    assert len({host.identity["checkpoint"] for host in hosts.values()}) == 3
    other.unet, other.text_encoder = hosts["sd15"].unet, hosts["sd15"].pipe.text_encoder
    swapped = Checkpoint(other).identity
    assert swapped["vae"] != own["vae"] and swapped["checkpoint"] == own["checkpoint"]


def test_in_bfloat16_the_pictures_are_nearly_the_same(checkpoints, hosts):
    half = Checkpoint.load(checkpoints["sdxl"], bf16=True, device="cpu")
    conditioning = half.encode(PROMPTS)
    assert torch.equal(conditioning.tokens, hosts["sdxl"].encode(PROMPTS).tokens)
    latents, own = (host.sample(conditioning, [1, 2], steps=3) for host in (half, hosts["sdxl"]))
    assert latents.dtype == half.decode(latents).dtype == torch.float32
    assert (latents - own).square().mean() < 0.01 * own.square().mean()


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
    assert (
        space_of(SimpleNamespace(vae=diffusers.AutoencoderKL(norm_num_groups=2, block_out_channels=(4,)), unet=None))
        == "sd15"
    )
    assert (
        space_of(
            SimpleNamespace(vae=diffusers.AutoencoderKL(norm_num_groups=2, block_out_channels=(4,), latent_channels=8))
        )
        is None
    )


def test_the_shipped_miniature_is_a_pipeline_of_diffusers():
    pipe, own = diffusers.StableDiffusionPipeline.from_pretrained(WEIGHTS), Miniature()
    host = Checkpoint(pipe)
    assert host.space == "miniature" and host.identity == own.identity
    assert torch.equal(host.encode(PROMPTS), own.encode(PROMPTS))
    options = dict(num_inference_steps=3, guidance_scale=2.0, output_type="latent")
    latents = pipe(PROMPTS, latents=own.noise([1, 2]), **options).images
    assert (latents - own.sample(own.encode(PROMPTS), [1, 2], steps=3)).abs().mean() < 0.05  # timesteps are rounded


def test_the_shell_learns_and_calibrates_on_a_folder(checkpoints, hosts, axis, tmp_path, monkeypatch, capsys):
    small = dict(steps=2, tone_steps=2)
    monkeypatch.setattr(learning, "learn", partial(learning.learn, **small))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80))
    monkeypatch.setattr(learning, "FEWEST_GATE_STEPS", 0)
    axis_file, file, pairs = tmp_path / "axis.json", tmp_path / "own.safetensors", tmp_path / "pairs"
    axis_file.write_text(json.dumps(axis.to_dict()))
    where = ["--checkpoint", str(checkpoints["sdxl"]), "--steps", "2", "--size", "128x64", "--cfg", "3"]
    options = ["--pairs", "4", "--points", "40", "--calibration", "0"]
    options += ["--pairs-folder", str(pairs), "--out", str(file)]
    cli.main(["learn", str(axis_file), *where, *options])
    said = capsys.readouterr().out
    assert "16 pictures of 128 x 64" in said and str(pairs) in said and "This preference is weak: " in said
    assert len(list(pairs.glob("*.safetensors"))) == 4
    with Image.open(tmp_path / "own.png") as report:
        assert min(report.size) > 400
    learned = load_preference(file)
    assert learned.space == "sdxl" and learned.gate.width == 40 and not learned.calibrations
    assert learned.training["cfg"] == 3 and learned.training["host"]["shape"] == [4, 8, 16]
    cli.main(["calibrate", str(file), *where, "--images", "2", "--target", "0.8"])
    said = capsys.readouterr().out
    assert "Orvane at CFG 3" in said and "80%" in said
    calibrated = load_preference(file)
    assert "Calibration at CFG 3 and 7: at most 24 pictures, kept in " in said
    assert [(c.group, c.cfg, c.base_n) for c in calibrated.calibrations] == [
        (group, cfg, 2) for group in axis.groups for cfg in (3, 7)
    ]
    latents, reasons = sample_corrected(hosts["sdxl"], PROMPTS, [1, 2], [calibrated], Settings(), steps=2)
    assert latents.shape == (2, 4, 8, 8) and len(reasons[0]) == 2


def test_the_shell_keeps_what_it_made_when_it_is_stopped_and_refuses_at_once_what_would_be_lost(
    checkpoints, axis, tmp_path, monkeypatch
):
    monkeypatch.setattr(learning, "learn", partial(learning.learn, steps=2, tone_steps=2))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80))
    monkeypatch.setattr(learning, "FEWEST_GATE_STEPS", 0)
    monkeypatch.setattr(folders, "HOME", tmp_path)
    monkeypatch.setattr(folders, "AXES", tmp_path / "axes")
    axis_file, file = tmp_path / "axis.json", tmp_path / "own.safetensors"
    axis_file.write_text(json.dumps(axis.to_dict()))
    where = ["--checkpoint", str(checkpoints["sd15"]), "--steps", "2", "--size", "64x64", "--cfg", "3"]
    options = [*where, "--pairs", "4", "--points", "40", "--calibration", "2"]
    with pytest.raises(SystemExit, match=r"this is a folder; name the file to write"):
        cli.main(["learn", str(axis_file), *options, "--out", str(tmp_path)])

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli_learning, "_calibrated", stopped)
        cli.main(["learn", str(axis_file), *options, "--out", str(file)])
    assert len(list(tmp_path.glob("out/pairs/test-*/*.safetensors"))) == 4
    learned = load_preference(file)  # training is not lost with the calibration
    cli.main(["calibrate", str(file), *where, "--images", "2"])
    known, *_ = load_preference(file).calibrations
    assert known.checkpoint == Checkpoint.load(checkpoints["sd15"]).identity["checkpoint"]
    learned.calibrations = (replace(known, checkpoint="0123456789abcdef"),)
    save_preference(learned, file)
    with pytest.raises(SystemExit, match=r"calibrated on another checkpoint or LoRA.*would be lost.*--out"):
        cli.main(["calibrate", str(file), *where, "--images", "2"])
    other = ["--checkpoint", str(checkpoints["sd2"]), *where[2:], "--out", str(tmp_path / "other.safetensors")]
    with pytest.raises(SystemExit, match=r"conditioning is \d+ wide.*use a preference made for this model"):
        cli.main(["calibrate", str(file), *other, "--images", "2"])


def test_what_the_libraries_say_is_kept_quiet(checkpoints, capfd):
    Checkpoint.load(checkpoints["sd15"], device="cpu")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() >= transformers.utils.logging.WARNING
