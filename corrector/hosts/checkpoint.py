"""A checkpoint folder in diffusers' format as a host: SD1.5, SD2 (eps or v), SDXL, the miniature. No network.

Everything that goes in or comes out is float32 on the CPU; only the networks live on `device`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..latent_space.spaces import denoised_from_output, scale_input
from ..miniature import model as miniature
from ..preference.prompt_gate import token_vectors
from .checkpoint_files import PIXELS, CheckpointError, kind_of, latent_size, load_part, load_tokenizer, read_json
from .lora import apply_lora
from .sampler import Host

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}
SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
LATENTS_AT_ONCE = 2**15  # latent pixels: 8 pictures of 512 x 512, or 2 of 1024 x 1024


@dataclass(frozen=True)
class Prompts:
    """SDXL's conditioning of N prompts: token vectors [N, 77, 2048] and pooled vectors [N, 1280]."""

    tokens: torch.Tensor
    pooled: torch.Tensor

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        """By slice, by a tensor of indices or of truths, or by number: always Prompts again."""
        chosen = torch.arange(len(self))[index].reshape(-1)
        return Prompts(self.tokens[chosen], self.pooled[chosen])

    def expand(self, count, *_):
        """One prompt for `count` pictures; `count` prompts stay as they are."""
        return Prompts(self.tokens.expand(count, -1, -1), self.pooled.expand(count, -1))

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.cat:
            return NotImplemented
        return cls(torch.cat([one.tokens for one in args[0]]), torch.cat([one.pooled for one in args[0]]))


class Checkpoint(Host):
    """A checkpoint folder. Latents are in model space: (VAE space - shift) * scale of the autoencoder's config."""

    def __init__(self, folder, bf16=False, device=None, size=None, lora=None):
        """`bf16`: UNet and autoencoder in bfloat16, half the memory. `device`: by default a CUDA GPU if there is one.

        `size`: (width, height) of the pictures in pixels, multiples of 64; by default the size the UNet is made for.
        `lora`: a LoRA file that makes it a derivative. Raises CheckpointError in a sentence that names the folder and
        what is wrong, and LoraError where the LoRA is another model's.
        """
        self.folder = folder = Path(folder)
        self.space, names = kind_of(folder)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.type, self.dtype = (torch.bfloat16, "bfloat16") if bf16 else (torch.float32, "float32")
        self.shape = (4, *latent_size(folder, size))
        self.batch = max(1, min(Host.batch, LATENTS_AT_ONCE // (self.shape[1] * self.shape[2])))
        self._read_schedule()
        self._load(names)
        if lora:
            apply_lora(self.unet, self.text_encoders, lora)
            self.weight_files.append(Path(lora))
        self.evaluations = 0  # of the UNet, counted in pictures

    def _read_schedule(self):
        """Prediction and training sigmas from scheduler/; without one, those of SD1.5."""
        from diffusers import EulerDiscreteScheduler

        path = self.folder / "scheduler" / "scheduler_config.json"
        config = read_json(path) if path.exists() else {}
        prediction, name = config.get("prediction_type", "epsilon"), config.get("_class_name", "")
        if prediction not in PREDICTIONS or name.startswith(("EDM", "FlowMatch")):
            raise CheckpointError(
                f'{self.folder}: its scheduler is "{name}" with prediction "{prediction}", and RS-Corrector samples '
                "epsilon and v_prediction models; use another checkpoint."
            )
        self.prediction = PREDICTIONS[prediction]
        if config:
            self.schedule_settings = {key: config[key] for key in SCHEDULE if key in config}
        alphas = EulerDiscreteScheduler(**self.schedule_settings).alphas_cumprod.double()
        self.sigmas = ((1 - alphas) / alphas).sqrt().float()

    def _load(self, names):
        miniature.quiet()
        self.unet, self.weight_files = load_part(self.folder / "unet", self.type)
        self.autoencoder, self.autoencoder_files = load_part(self.folder / "vae", self.type)
        self.text_encoders = []
        for name in names:
            if name.startswith("text_encoder"):
                encoder, files = load_part(self.folder / name, torch.float32)
                self.text_encoders.append(encoder)
                self.weight_files += files
        width = sum(encoder.config.hidden_size for encoder in self.text_encoders)
        if width != self.unet.config.cross_attention_dim:
            raise CheckpointError(
                f"{self.folder}: its text encoders give vectors {width} wide and its UNet takes "
                f"{self.unet.config.cross_attention_dim}; they are parts of different checkpoints."
            )
        for part in (self.unet, self.autoencoder, *self.text_encoders):
            part.to(self.device)
        self.tokenizers = [load_tokenizer(self.folder / name) for name in names if name.startswith("tokenizer")]
        self.scale = self.autoencoder.config.scaling_factor
        self.shift = self.autoencoder.config.get("shift_factor") or 0.0

    @torch.no_grad()
    def encode(self, prompts):
        """Prompts -> conditioning: token vectors [N, 77, W], or Prompts for SDXL. Longer prompts are cut off."""
        tokens, pooled = [], None
        for tokenizer, encoder in zip(self.tokenizers, self.text_encoders, strict=True):
            ids = miniature.tokenize(tokenizer, prompts).to(self.device)
            if self.space != "sdxl":
                return encoder(ids).last_hidden_state.cpu()
            read = encoder(ids, output_hidden_states=True)
            tokens.append(read.hidden_states[-2].cpu())  # SDXL was trained on the last layer but one
            pooled = getattr(read, "text_embeds", None)  # of the second encoder
        return Prompts(torch.cat(tokens, dim=-1), pooled.cpu())

    @torch.no_grad()
    def denoise(self, x, sigma, conditioning):
        """(x [B, 4, H, W], sigma [B], conditioning of B pictures or one) -> denoised, without CFG."""
        conditioning, timestep = conditioning.expand(len(x), -1, -1), self.timestep(sigma)
        self.evaluations += len(x)
        outputs = [
            self._output(scale_input(x[some], sigma[some]), timestep[some], conditioning[some])
            for some in torch.arange(len(x)).split(2 * self.batch)  # CFG asks for both of a batch at once
        ]
        return denoised_from_output(torch.cat(outputs), x, sigma, self.prediction)

    def _output(self, x, timestep, conditioning):
        tokens, beside = token_vectors(conditioning).to(self.device, self.type), None
        if self.space == "sdxl":
            height, width = (PIXELS * side for side in x.shape[-2:])
            sizes = torch.tensor([[height, width, 0.0, 0.0, height, width]])  # original, no crop, wanted
            beside = dict(
                text_embeds=conditioning.pooled.to(self.device, self.type),
                time_ids=sizes.expand(len(x), -1).to(self.device),
            )
        x, timestep = x.to(self.device, self.type), timestep.to(self.device)
        return self.unet(x, timestep, tokens, added_cond_kwargs=beside).sample.float().cpu()

    @torch.no_grad()
    def encode_pictures(self, pictures):
        """Pictures [N, 3, H, W] in -1..1 -> latents [N, 4, H/8, W/8] in model space."""
        latents = []
        for part in pictures.split(self.batch):
            read = self.autoencoder.encode(part.to(self.device, self.type))
            latents.append((read.latents if hasattr(read, "latents") else read.latent_dist.mode()).float().cpu())
        return (torch.cat(latents).contiguous() - self.shift) * self.scale

    @torch.no_grad()
    def decode(self, latents):
        """Latents [N, 4, H, W] in model space -> pictures [N, 3, 8H, 8W] in -1..1."""
        pictures = []
        for part in latents.split(self.batch):
            z = (part / self.scale + self.shift).to(self.device, self.type)
            pictures.append(self.autoencoder.decode(z).sample.float().cpu())
        return torch.cat(pictures).clamp(-1, 1)
