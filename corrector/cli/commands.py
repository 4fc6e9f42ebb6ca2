"""Command-line interface of RS-Corrector: the parser, and errors as sentences."""

import argparse
from pathlib import Path

from ..latent_space.whole_files import FULL, why_not
from . import audit, demo, learning
from .options import count as _count

PACKAGE = __package__.partition(".")[0]  # corrector in the repository, rs_corrector once installed
PIP_NAMES = ("torch", "numpy", "diffusers", "transformers", "statsmodels", "peft")  # not needed inside a host


def main(argv=None):
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE}", description=__doc__.partition(":")[0] + ".")
    commands = parser.add_subparsers(dest="command", required=True)
    for group in (demo, learning, audit):
        group.add_commands(commands)
    args = parser.parse_args(argv)
    where = f"{parser.prog} {args.command}:"
    try:
        args.run(args)
    except ModuleNotFoundError as error:
        if error.name not in PIP_NAMES:
            raise
        raise SystemExit(
            f'{where} the package "{error.name}" is not installed; run: pip install "rs-corrector[diffusers]"'
        ) from None
    except _refusals() as refusal:
        raise SystemExit(f"{where} {refusal}") from None
    except OSError as error:
        if not error.filename and error.errno not in FULL:
            raise  # not about a file
        file = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{where} {file}{why_not(error)}.") from None


def _refusals():
    from ..axis.axis import AxisError
    from ..hosts.loading import CheckpointError
    from ..learning.store import PairError
    from ..preference.file import PreferenceFileError
    from ..preference.prompt_gate import GateError

    return AxisError, CheckpointError, GateError, PairError, PreferenceFileError, *audit.refusals()


def _add_host_options(parser):
    parser.add_argument(
        "--checkpoint", type=Path,
        help="a .safetensors file or a folder in diffusers' format; by default the miniature",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FOLDER",
        help="for a .safetensors file: a folder with its model family's configuration and tokenizer, as in Forge's "
        "backend/huggingface",
    )  # fmt: skip
    parser.add_argument("--lora", type=Path, help="a LoRA file on top of it: a derivative")
    parser.add_argument("--steps", type=_count, default=16, help="sampling steps")
    parser.add_argument("--cfg", type=float, help="by default 2 for the miniature and 7 for a checkpoint")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the pictures; by default the checkpoint's own")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16: half the memory, and often faster")


def _size(text):
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size; write width x height, as 768x512') from None
    return width, height


def _host(args):
    """The checkpoint that the options name, by default the miniature; sets the default CFG scale."""
    from ..hosts.checkpoint import Checkpoint
    from ..miniature.host import Miniature
    from ..miniature.model import WEIGHTS

    if args.checkpoint or args.size:
        options = dict(bf16=args.bf16, size=args.size, lora=args.lora, config=args.config)
        host = Checkpoint.load(args.checkpoint or WEIGHTS, **options)
    else:
        host = Miniature(bf16=args.bf16, lora=args.lora)
    host.steps = args.steps
    if args.cfg is None:
        args.cfg = 2.0 if host.space == "miniature" else 7.0
    return host
