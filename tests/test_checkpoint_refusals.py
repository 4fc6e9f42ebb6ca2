"""Checkpoint folders that cannot be used: each is refused in a sentence that names the folder and what is wrong."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from corrector.cli import commands as cli
from corrector.hosts.checkpoint import Checkpoint
from corrector.hosts.checkpoint_files import CheckpointError
from corrector.miniature.model import WEIGHTS
from tiny_checkpoints import text_encoder

pytestmark = pytest.mark.usefixtures("one_thread", "no_network")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def only_one_file(folder):
    shutil.rmtree(folder / "unet")
    (folder / "model.safetensors").write_bytes(b"")


def pointer(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def pickled(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def cut_off(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-999])


def without_a_tensor(path):
    tensors = load_file(path)
    tensors.pop(min(tensors))
    save_file(tensors, path, metadata={"format": "pt"})


def other_encoder(folder):
    text_encoder(24).save_pretrained(folder / "text_encoder")


DAMAGES = {
    "folder missing": (shutil.rmtree, "there is no such folder"),
    "one file in it": (only_one_file, r"from_single_file\(.*save_pretrained"),
    "no unet": (lambda f: shutil.rmtree(f / "unet"), "the part unet/ is missing"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "the part tokenizer/ is missing"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "the part scheduler/ is missing"),
    "no config": (lambda f: (f / "vae" / "config.json").unlink(), "the part vae/ is missing or has no config.json"),
    "SD3": (lambda f: (f / "transformer").mkdir(), "with a transformer/ as SD3 and Flux have"),
    "Flux": (lambda f: edit(f / "model_index.json", _class_name="FluxPipeline"), "it is a FluxPipeline"),
    "other unet": (lambda f: edit(f / "unet/config.json", _class_name="UNetSpatioTemporal"), "UNetSpatioTemporal"),
    "inpainting": (lambda f: edit(f / "unet/config.json", in_channels=9), "in_channels 9.*no inpainting"),
    "other text": (lambda f: edit(f / "text_encoder/config.json", architectures=["T5Model"]), '"T5Model".*is needed'),
    "other vae": (lambda f: edit(f / "vae/config.json", _class_name="AutoencoderDC"), '"AutoencoderDC".*is needed'),
    "EDM": (lambda f: edit(f / "scheduler/scheduler_config.json", prediction_type="sample"), 'prediction "sample"'),
    "git-lfs": (pointer, "git-lfs pointer.*git lfs pull"),
    "pickles": (pickled, "only pickles, which can run code"),
    "cut off": (cut_off, "cannot be loaded.*copy the checkpoint folder again"),
    "not JSON": (lambda f: (f / "unet" / "config.json").write_text("{"), "cut off or not a JSON"),
    "mixed": (other_encoder, "24 wide and its UNet takes 16; they are parts of different"),
    "unet lacks": (lambda f: without_a_tensor(f / "unet/diffusion_pytorch_model.safetensors"), "unet: .* lack 1 tens"),
    "text lacks": (lambda f: without_a_tensor(f / "text_encoder/model.safetensors"), "text_encoder: .* lack 1 tensors"),
    "other layers": (
        lambda f: edit(f / "unet/config.json", layers_per_block=2),
        "cannot be loaded.*copy the checkpoint folder again",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_used_is_refused_in_a_sentence_that_names_it(checkpoint_copy, damage):
    folder, (harm, sentence) = checkpoint_copy(), DAMAGES[damage]
    harm(folder)
    with pytest.raises(CheckpointError, match=sentence) as refusal:
        Checkpoint(folder, device="cpu")
    assert str(folder) in str(refusal.value)


def test_one_file_and_odd_sizes_are_refused(checkpoints, tmp_path):
    path = tmp_path / "v1-5.safetensors"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="a checkpoint in one file"):
        Checkpoint(path)
    for size in ((100, 64), (64, 0), (-64, 64)):
        with pytest.raises(CheckpointError, match="multiples of 64"):
            Checkpoint(checkpoints["sd15"], size=size)


def test_the_shell_refuses_in_one_sentence(checkpoints, tmp_path):
    shipped = WEIGHTS.parent / "miniature-attire.safetensors"
    with pytest.raises(SystemExit, match="there is no such folder"):
        cli.main(["calibrate", str(shipped), "--checkpoint", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match=r'for "miniature".*"sd15"'):
        cli.main(["calibrate", str(shipped), "--checkpoint", str(checkpoints["sd15"])])
