"""Options that several commands share, and the checkpoint that they name."""

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..hosts.checkpoint import Checkpoint
    from ..miniature.flow_host import FlowMiniature
    from ..preference.preference import Preference

MOST_PICTURES = 10**6  # and points
FLOW_MODELS = ("flow-miniature", "flow-miniature-turbo")  # which ship, by their names


def number(low: float, high: float, kind: type[int] | type[float] = float) -> Callable[[str], float]:
    """-> the type of options that take a number in a range."""

    def parse(text: str) -> float:
        with suppress(ValueError):
            if low <= (value := kind(text)) <= high:  # not nan
                return value
        whole_number = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f'"{text[:40]}" is not {whole_number} from {low} to {high}')

    return parse


def whole(low: int, high: int) -> Callable[[str], float]:
    """-> the type of options that take a whole number in a range."""
    return number(low, high, int)


count = whole(1, MOST_PICTURES)
seed = whole(0, 2**31 - 1)  # that all hosts take
cfg = number(1, 100)
share = number(0.001, 1)


def goal(text: str) -> Callable[[], Callable[["Preference"], bool]]:
    """The type of --until: a time such as 10m, or "good" -> a function that gives the `until` of `learn`, from now."""
    from ..learning.goals import good, within

    if text == "good":
        return good
    if not (match := re.fullmatch(r"(\d{1,4})([smh])", text)):
        raise argparse.ArgumentTypeError(f'"{text[:40]}" is not a time such as 90s, 10m or 2h, nor "good"')
    return lambda: within(int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]])


def add_host_options(parser: argparse.ArgumentParser, draws: bool = True) -> None:
    """The checkpoint, and for a command that `draws` pictures also how."""
    checkpoint = (
        "a .safetensors file, a folder in diffusers' format, flow-miniature or flow-miniature-turbo; by default the "
        "miniature"
    )
    parser.add_argument("--checkpoint", type=Path, help=checkpoint)
    parser.add_argument("--config", type=Path, metavar="FOLDER",
                        help="for a .safetensors file: a folder with its model family's configuration and tokenizer, "
                        "as in Forge's backend/huggingface")  # fmt: skip
    parser.add_argument("--lora", type=Path, help="a LoRA file to apply to the checkpoint")
    half = "compute in bfloat16, in half the memory; by default on GPUs that do"
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help=half)
    parser.add_argument(
        "--offload", action="store_true", help="keep on the GPU only what computes: less memory, slower"
    )
    parser.set_defaults(steps=None, cfg=None, size=None)
    if not draws:
        return
    parser.add_argument("--steps", type=whole(1, 1000), help="sampling steps (16; 4 for flow-miniature-turbo)")
    scales = "CFG scale (7 for a checkpoint, 2 for the miniatures, 1 for flow-miniature-turbo)"
    parser.add_argument("--cfg", type=cfg, help=scales)
    parser.add_argument("--size", type=_size, metavar="WxH", help="picture size; by default the checkpoint's own")


def _size(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+[xX]\d+", text):
        raise argparse.ArgumentTypeError(f'"{text}" is not a size; write width x height, such as 768x512')
    return tuple(map(int, text.lower().split("x")))


def open_host(args: argparse.Namespace) -> "Checkpoint | FlowMiniature":
    """The model that the options name, by default the miniature; sets the default steps and CFG scale."""
    from ..latents.host import cfg_of

    host = _flow_miniature(args) if str(args.checkpoint) in FLOW_MODELS else _checkpoint(args)
    args.steps = host.steps = args.steps or host.steps
    args.cfg = cfg_of(host) if args.cfg is None else args.cfg
    return host


def _checkpoint(args):
    from ..hosts.checkpoint import Checkpoint
    from ..miniature.host import Miniature
    from ..miniature.model import WEIGHTS

    if args.checkpoint or args.size:
        options = dict(size=args.size, lora=args.lora, config=args.config, offload=args.offload)
        return Checkpoint.load(args.checkpoint or WEIGHTS, args.bf16, **options)
    return Miniature(bf16=bool(args.bf16), lora=args.lora)


def _flow_miniature(args):
    from ..hosts.loading import CheckpointError
    from ..miniature.flow_host import FlowMiniature, twin

    if args.size or args.lora or args.config:
        raise CheckpointError(
            f"The {args.checkpoint} draws pictures of 128x128 and takes no LoRA; leave out --size, --lora and --config."
        )
    bf16 = bool(args.bf16)
    return twin(bf16) if str(args.checkpoint) == FLOW_MODELS[1] else FlowMiniature(bf16=bf16)
