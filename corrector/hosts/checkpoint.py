"""A diffusers pipeline as a host: SD1.5, SD2.x (epsilon or v-prediction), SDXL and the miniature."""

import math
from contextlib import contextmanager
from functools import cached_property, partial

import torch

from ..gate.prompt_gate import token_vectors
from ..latents.devices import quickly
from ..latents.fingerprint import fingerprint
from ..latents.spaces import LATENT_SPACES, denoised_from_output, scale_input
from .loading import READS, CheckpointError, load_pipeline
from .prompts import Prompts
from .sampler import TEXTS_AT_ONCE, Host

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}
SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
LATENTS_AT_ONCE = 2**15  # latent pixels: 8 pictures of 512 x 512, or 2 of 1024 x 1024
PIXELS = 8  # of the picture, on each side of a latent pixel
DECODED = 8  # pictures at once: more do not fit into a CPU's cache and take longer


class Checkpoint(Host):
    """A loaded pipeline of diffusers as a host; neither its scheduler nor its weights are changed.

    The pipeline may have any precision, scheduler or CPU offload, and may be the img2img, inpaint or ControlNet variant
    (of which only UNet, VAE and text encoders are used). It must stay on its device. Raises CheckpointError if its
    model is not supported.

    Args:
        pipe: StableDiffusionPipeline, StableDiffusionXLPipeline or a variant of them.
        size: (width, height) of the pictures in pixels, multiples of 64; by default the UNet's own.
    """

    def __init__(self, pipe, size=None):
        self.pipe, self.evaluations = pipe, 0  # evaluations of the UNet, counted in pictures
        self.unet, self.autoencoder = _supported(pipe)
        self.space, self.sdxl = space_of(pipe), _is_sdxl(pipe)
        self.cfg = 2.0 if self.space == "miniature" else Host.cfg
        self.shape = (4, *_latent_size(pipe, size))
        self.batch = max(1, min(Host.batch, LATENTS_AT_ONCE // (self.shape[1] * self.shape[2])))
        self.dtype = str(self.unet.dtype).removeprefix("torch.")
        config = self.autoencoder.config
        self.scale, self.shift = config.scaling_factor, config.get("shift_factor") or 0.0
        self._read_schedule(pipe.scheduler)

    @classmethod
    def load(cls, path, bf16=False, device=None, size=None, lora=None, config=None):
        """A checkpoint folder or single file as a host; for the arguments see `load_pipeline` and the class."""
        return cls(load_pipeline(path, bf16, device, lora, config), size)

    @cached_property
    def device(self):
        return self.pipe._execution_device  # also right with CPU offload; diffusers looks at every module for it

    @property
    def vocabulary(self):
        return tuple(self.pipe.tokenizer.get_vocab())

    @cached_property
    def identity(self):
        return {
            "checkpoint": checkpoint_of(self.pipe),
            "vae": identity_of(self.autoencoder),
            "space": self.space,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "schedule": f"{self.prediction}, sigma {self.sigmas[0]:.4f} to {self.sigmas[-1]:.4f}",
        }

    def _read_schedule(self, scheduler):
        from diffusers import EulerDiscreteScheduler

        config, name = scheduler.config, type(scheduler).__name__
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS or name.startswith(("EDM", "FlowMatch")) or config.get("use_flow_sigmas"):
            raise CheckpointError(
                f'{_name(self.pipe)}: its scheduler is "{name}" with prediction "{prediction}", and only models with '
                "epsilon or v_prediction can be sampled; use another checkpoint."
            )
        self.prediction = PREDICTIONS[prediction]
        self.schedule_settings = {key: config[key] for key in SCHEDULE if key in config}
        alphas = EulerDiscreteScheduler(**self.schedule_settings).alphas_cumprod.double()
        self.sigmas = ((1 - alphas) / alphas).sqrt().float()

    def encode(self, prompts):
        """Prompts -> token vectors [N, 77, W], or Prompts for SDXL.

        Longer prompts are encoded in chunks, which follow each other: [N, 77 k, W]. Shorter ones are repeated up to the
        same length, which changes nothing in cross-attention.
        """
        encoded = self._encode(prompts)
        return encoded if self.sdxl else encoded.tokens

    def encode_each(self, prompts):
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            with quickly(self.device):
                encoded = self._encode(prompts[start : start + TEXTS_AT_ONCE])
            yield from (row[0] for ((row, _),) in encoded.conditionings)

    @torch.no_grad()
    def _encode(self, prompts):
        # Tokenizers refuse halves of surrogate pairs, which become question marks.
        prompts = [prompt.encode("utf-8", "replace").decode() for prompt in prompts]
        chunks = [chunks_of(self.pipe.tokenizer, prompt) for prompt in prompts]
        tokens, _, *pooled = self.pipe.encode_prompt(
            [chunk for some in chunks for chunk in some],
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        counts = [len(some) for some in chunks]
        rows = [torch.cat(list(some))[None] for some in tokens.float().cpu().split(counts)]
        more = [{}] * len(rows)
        if self.sdxl:
            more = [{"pooled_output": some[:1]} for some in pooled[0].float().cpu().split(counts)]
        return Prompts([[row, also]] for row, also in zip(rows, more, strict=True))

    @torch.no_grad()
    def denoise(self, x, sigma, conditioning):
        conditioning, x, sigma = conditioning.expand(len(x), -1, -1), x.to(self.device), sigma.to(self.device)
        self.evaluations += len(x)
        outputs = [
            self._output(scale_input(x[some], sigma[some]), self.timestep(sigma[some]), conditioning[some])
            for some in torch.arange(len(x)).split(2 * self.batch)  # CFG asks for both halves of a batch at once
        ]
        return denoised_from_output(torch.cat(outputs), x, sigma, self.prediction)

    def _output(self, x, timestep, conditioning):
        """The UNet's output for scaled x, float32."""
        to, added = dict(device=self.device, dtype=self.unet.dtype), None
        if self.sdxl:
            height, width = (PIXELS * side for side in x.shape[-2:])
            sizes = torch.tensor([[height, width, 0.0, 0.0, height, width]])  # original size, crop, target size
            added = dict(text_embeds=conditioning.pooled.to(**to), time_ids=sizes.expand(len(x), -1).to(self.device))
        tokens = token_vectors(conditioning).to(**to)
        return self.unet(x.to(**to), timestep, tokens, added_cond_kwargs=added).sample.float()

    @torch.no_grad()
    def encode_pictures(self, pictures):
        """Pictures [N, 3, H, W] in -1..1 -> latents [N, 4, H/8, W/8] in model space, on the CPU."""
        latents = []
        with _upcast(self.autoencoder) as vae:
            for part in pictures.split(self.batch):
                read = vae.encode(part.to(self.device, vae.dtype))
                latents.append((read.latents if hasattr(read, "latents") else read.latent_dist.mode()).float().cpu())
        return (torch.cat(latents).contiguous() - self.shift) * self.scale

    @torch.no_grad()
    def decode(self, latents):
        pictures = []
        with _upcast(self.autoencoder) as vae:
            for part in latents.split(min(self.batch, DECODED)):
                z = (part.to(self.device) / self.scale + self.shift).to(vae.dtype)
                pictures.append(vae.decode(z).sample.float().cpu())
        return torch.cat(pictures).clamp(-1, 1)


def chunks_of(tokenizer, prompt):
    """A prompt in parts that fit into the text encoder, cut between words as in ComfyUI; one part if it fits."""
    ids = partial(tokenizer, add_special_tokens=False, verbose=False)  # no warning that a prompt is long
    room, chunks, used = tokenizer.model_max_length - 2, [[]], 0  # without the tokens of start and end
    if len(ids(prompt).input_ids) <= room:
        return [prompt]
    words = prompt.split()
    for word, count in zip(words, map(len, ids(words).input_ids), strict=True):
        if chunks[-1] and used + count > room:
            chunks.append([])
            used = 0
        chunks[-1].append(word)
        used += count
    return [" ".join(some) for some in chunks]


def space_of(pipe):
    """Name in LATENT_SPACES of a pipeline's latents, or None if they are of another kind.

    Read from the VAE's channels, scale and shift; VAEs with a scale of their own (TAESD) count as their UNet's.
    """
    vae, unet = pipe.vae.config, getattr(pipe, "unet", None)
    found = vae.get("scaling_factor") or 1.0, vae.get("shift_factor") or 0.0
    for space in LATENT_SPACES.values():
        same = all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(found, (space.scale, space.shift), strict=True))
        if same and vae.get("latent_channels") == space.channels:
            return space.name
    if unet is None or vae.get("latent_channels") != 4:
        return None
    return "sdxl" if _is_sdxl(pipe) else "sd15"


def identity_of(*modules: torch.nn.Module | None) -> str:
    """The `fingerprint` of the weights of networks, of which some may be None."""
    weights = {}
    for number, module in enumerate(filter(None, modules)):
        module = getattr(module, "_orig_mod", module)  # if it was compiled
        state = module.state_dict()
        if any(tensor.is_meta for tensor in state.values()):  # sequential CPU offload keeps them elsewhere
            from accelerate.utils.modeling import get_state_dict_offloaded_model

            state = get_state_dict_offloaded_model(module)
        weights |= {f"{number}.{name}": tensor for name, tensor in state.items()}
    return fingerprint(weights)


def checkpoint_of(pipe) -> str:
    """The `identity_of` UNet and text encoders of a pipeline, on which the rates of its pictures depend."""
    return identity_of(pipe.unet, pipe.text_encoder, getattr(pipe, "text_encoder_2", None))


def _name(pipe):
    return pipe.config.get("_name_or_path") or type(pipe).__name__


def _is_sdxl(pipe):
    return pipe.unet.config.get("addition_embed_type") == "text_time"


def _supported(pipe):
    """-> (UNet, VAE) of a pipeline that this host can sample. Raises CheckpointError."""
    parts = [getattr(pipe, name, None) for name in ("unet", "vae", "text_encoder", "tokenizer")]
    config, kind = getattr(parts[0], "config", {}), type(getattr(parts[0], "_orig_mod", parts[0])).__name__
    odd = [key for key in ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim") if config.get(key)]
    odd += ["addition_embed_type"] if config.get("addition_embed_type") not in (None, "text_time") else []
    odd += [f"{key} {config[key]}" for key in ("in_channels", "out_channels") if config.get(key, 4) != 4]
    if any(part is None for part in parts) or kind != "UNet2DConditionModel":
        raise CheckpointError(f"{_name(pipe)}: it is a {type(pipe).__name__}. {READS}.")
    if odd:
        raise CheckpointError(
            f"{_name(pipe)}: its UNet has {', '.join(odd)}, and a plain one of 4 channels is needed (no inpainting, "
            "editing, upscaling or LCM model); use the checkpoint that it was made from."
        )
    encoders = [encoder for encoder in (parts[2], getattr(pipe, "text_encoder_2", None)) if encoder is not None]
    tokenizers = [parts[3], getattr(pipe, "tokenizer_2", None)]
    for encoder, tokenizer in zip(encoders, tokenizers, strict=False):
        known = 0 if tokenizer is None else len(tokenizer)
        if known < encoder.config.vocab_size:  # transformers makes an empty tokenizer if its files are missing
            raise CheckpointError(
                f"{_name(pipe)}: its tokenizer has {known} tokens and its text encoder "
                f"{encoder.config.vocab_size}; copy the tokenizer folders again."
            )
    width = sum(encoder.config.hidden_size for encoder in encoders)
    if width != config.cross_attention_dim:
        raise CheckpointError(
            f"{_name(pipe)}: its text encoders give vectors {width} wide and its UNet takes "
            f"{config.cross_attention_dim}; they are parts of different checkpoints."
        )
    return parts[0], parts[1]


def _latent_size(pipe, size):
    """(width, height) in pixels, or None -> (height, width) of the latent."""
    if size is None:
        side = pipe.unet.config.sample_size or 64
        return (side, side) if isinstance(side, int) else tuple(side)
    width, height = size
    if min(width, height) < 64 or width % 64 or height % 64:
        raise CheckpointError(f"The size {width} x {height} cannot be sampled; give multiples of 64.")
    return height // PIXELS, width // PIXELS


@contextmanager
def _upcast(vae):
    """A VAE that overflows in float16 (SDXL's) in float32 for a while, as diffusers' pipelines do it."""
    upcast = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    try:
        yield vae.to(torch.float32) if upcast else vae
    finally:
        if upcast:
            vae.to(torch.float16)
