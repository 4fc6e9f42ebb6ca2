"""Checkpoint folders as hosts: those of tiny_checkpoints.py, held against diffusers' own arithmetic."""

import json
import shutil
from dataclasses import replace
from functools import partial

import diffusers
import pytest
import torch
import transformers
from PIL import Image
from transformers import CLIPTextModel

from corrector.cli import commands as cli
from corrector.correction.update import Settings
from corrector.hosts.checkpoint import Checkpoint, Prompts
from corrector.learning import learn as learning
from corrector.learning.calibrate import sample_corrected
from corrector.miniature.host import Miniature
from corrector.miniature.model import WEIGHTS, load_tokenizer
from corrector.preference.file import load_preference, save_preference
from tiny_checkpoints import BETAS, KINDS, build

PROMPTS = ["a portrait of a Orvane person", "a photo of a Tavelu man in a village"]

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


@pytest.fixture(scope="module")
def hosts(checkpoints):
    return {kind: Checkpoint(folder, device="cpu") for kind, folder in checkpoints.items()}


def output(host, x, timestep, conditioning):
    """The UNet's output at x, already scaled, called as diffusers' pipelines call it."""
    tokens, beside = getattr(conditioning, "tokens", conditioning), None
    if host.space == "sdxl":
        height, width = (8 * side for side in x.shape[2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(x))
        beside = dict(text_embeds=conditioning.pooled, time_ids=sizes)
    with torch.no_grad():
        return host.unet(x, timestep, tokens, added_cond_kwargs=beside).sample


@pytest.mark.parametrize("kind", KINDS)
def test_the_four_functions_have_the_shapes_of_the_contract(hosts, kind):
    host = hosts[kind]
    assert host.space == {"sd2": "sd15"}.get(kind, kind) and host.shape == (4, 8, 8)
    assert host.prediction == ("v" if kind == "sd2" else "eps")
    conditioning, seen, done = host.encode(PROMPTS), [], []
    assert len(conditioning) == 2

    def hook(denoised, x, sigma, which):
        assert denoised.shape == x.shape == (len(which), 4, 8, 8) and sigma.shape == (len(which),)
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
    pipeline = diffusers.StableDiffusionXLPipeline(
        None, *hosts["sdxl"].text_encoders, *hosts["sdxl"].tokenizers, hosts["sdxl"].unet,
        diffusers.EulerDiscreteScheduler(), add_watermarker=False,
    )  # fmt: skip
    with torch.no_grad():
        tokens, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    conditioning = hosts["sdxl"].encode(PROMPTS)
    assert torch.equal(conditioning.tokens, tokens) and tokens.shape == (2, 77, 40)
    assert torch.equal(conditioning.pooled, pooled) and pooled.shape == (2, 20)


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
    host, seeds, cfg = Checkpoint(checkpoints[kind], device="cpu", size=(64, 128)), [5, 6], 3.0
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
    own, host = Miniature(), Checkpoint(WEIGHTS, device="cpu")
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


def test_identity_is_the_same_at_each_load_and_another_for_other_weights_size_or_precision(
    checkpoints, hosts, tmp_path
):
    own, folder = hosts["sd15"].identity, checkpoints["sd15"]
    assert json.loads(json.dumps(own)) == own == Checkpoint(folder, device="cpu").identity
    assert len(own["checkpoint"]) == 10 and own["dtype"] == "float32" and own["shape"] == [4, 8, 8]
    others = [Checkpoint(build("sd15", tmp_path, seed=1)), Checkpoint(folder, size=(128, 64)), Checkpoint(folder, True)]
    assert others[0].identity["checkpoint"] != own["checkpoint"] == others[1].identity["checkpoint"]
    assert all(other.identity != own for other in others)
    assert len({host.identity["checkpoint"] for host in hosts.values()}) == 3
    swapped = shutil.copytree(folder, tmp_path / "swapped")
    shutil.copytree(others[0].folder / "vae", swapped / "vae", dirs_exist_ok=True)
    another = Checkpoint(swapped, device="cpu").identity
    assert another["vae"] != own["vae"] and another["checkpoint"] == own["checkpoint"]


def test_in_bfloat16_the_pictures_are_nearly_the_same(checkpoints, hosts):
    half = Checkpoint(checkpoints["sdxl"], bf16=True, device="cpu")
    conditioning = half.encode(PROMPTS)
    assert torch.equal(conditioning.tokens, hosts["sdxl"].encode(PROMPTS).tokens)
    latents, own = (host.sample(conditioning, [1, 2], steps=3) for host in (half, hosts["sdxl"]))
    assert latents.dtype == half.decode(latents).dtype == torch.float32
    assert (latents - own).square().mean() < 0.01 * own.square().mean()


@pytest.mark.parametrize("save", [dict(variant="fp16"), dict(max_shard_size="20KB")], ids=["fp16 only", "in shards"])
def test_half_precision_files_and_shards_are_read(tmp_path, hosts, save):
    host = Checkpoint(build("sdxl", tmp_path, **save), device="cpu")
    assert len(host.weight_files) > 3 if "max_shard_size" in save else "fp16" in host.weight_files[0].name
    assert torch.equal(host.encode(PROMPTS).pooled, hosts["sdxl"].encode(PROMPTS).pooled)
    assert len(host.identity["checkpoint"]) == 10


def test_without_a_scheduler_and_an_index_the_schedule_is_that_of_sd15(checkpoint_copy, hosts):
    folder = checkpoint_copy()
    shutil.rmtree(folder / "scheduler")
    (folder / "model_index.json").unlink()
    host = Checkpoint(folder, device="cpu")
    assert host.prediction == "eps" and torch.equal(host.sigmas, hosts["sd15"].sigmas)


def test_the_shell_learns_and_calibrates_on_a_folder(checkpoints, hosts, axis, tmp_path, monkeypatch, capsys):
    small = dict(steps=2, tone_steps=2)
    monkeypatch.setattr(learning, "learn", partial(learning.learn, **small))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80, steps=2))
    axis_file, file, pairs = tmp_path / "axis.json", tmp_path / "own.safetensors", tmp_path / "pairs"
    axis_file.write_text(json.dumps(axis.to_dict()))
    where = ["--checkpoint", str(checkpoints["sdxl"]), "--steps", "2", "--size", "128x64", "--cfg", "3"]
    options = ["--pairs", "4", "--teacher", "40", "--calibration", "0"]
    options += ["--pairs-folder", str(pairs), "--out", str(file)]
    with pytest.raises(SystemExit, match="of 3 pairs of Orvane have skin of the same tone on both sides"):
        cli.main(["learn", str(axis_file), *where, *options])
    cli.main(["learn", str(axis_file), *where, *options, "--no-match"])
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
    assert {(c.group, c.cfg, c.base_n) for c in calibrated.calibrations} == {("Orvane", 3, 2), ("Tavelu", 3, 2)}
    latents, reasons = sample_corrected(hosts["sdxl"], PROMPTS, [1, 2], [calibrated], Settings(), steps=2)
    assert latents.shape == (2, 4, 8, 8) and len(reasons[0]) == 2


def test_the_shell_keeps_what_it_made_when_it_is_stopped_and_refuses_at_once_what_would_be_lost(
    checkpoints, axis, tmp_path, monkeypatch
):
    monkeypatch.setattr(learning, "learn", partial(learning.learn, steps=2, tone_steps=2))
    monkeypatch.setattr(learning, "train_gate", partial(learning.train_gate, count=80, steps=2))
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    (tmp_path / "axes").mkdir()
    axis_file, file = tmp_path / "axis.json", tmp_path / "own.safetensors"
    axis_file.write_text(json.dumps(axis.to_dict()))
    where = ["--checkpoint", str(checkpoints["sd15"]), "--steps", "2", "--size", "64x64", "--cfg", "3"]
    options = [*where, "--pairs", "4", "--teacher", "40", "--no-match", "--calibration", "2"]
    with pytest.raises(SystemExit, match=r"this is a folder; name the file to write"):
        cli.main(["learn", str(axis_file), *options, "--out", str(tmp_path)])

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli, "_calibrated", stopped)
        cli.main(["learn", str(axis_file), *options, "--out", str(file)])
    assert len(list(tmp_path.glob("out/pairs/test-*/*.safetensors"))) == 4
    learned = load_preference(file)  # training is not lost with the calibration
    cli.main(["calibrate", str(file), *where, "--images", "2"])
    (known, _) = load_preference(file).calibrations
    assert known.checkpoint == Checkpoint(checkpoints["sd15"]).identity["checkpoint"]
    learned.calibrations = (replace(known, checkpoint="0123456789"),)
    save_preference(learned, file)
    with pytest.raises(SystemExit, match=r"calibrated on another checkpoint or LoRA.*would be lost.*--out"):
        cli.main(["calibrate", str(file), *where, "--images", "2"])
    other = ["--checkpoint", str(checkpoints["sd2"]), *where[2:], "--out", str(tmp_path / "other.safetensors")]
    with pytest.raises(SystemExit, match=r"conditioning is \d+ wide.*use a preference made for this model"):
        cli.main(["calibrate", str(file), *other, "--images", "2"])


def test_what_the_libraries_say_is_kept_quiet(checkpoints, capfd):
    Checkpoint(checkpoints["sd15"], device="cpu")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() >= transformers.utils.logging.WARNING
