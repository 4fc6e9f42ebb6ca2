"""Command-line interface of RS-Corrector: the parser, and errors as sentences."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from ..files.errors import RSCorrectorError
from ..files.whole_files import DISK_IS_FULL, why_not
from . import audit, demo, learning, read

PACKAGE = __name__.partition(".")[0]  # corrector in the repository, rs_corrector once installed


def main(argv: Sequence[str] | None = None) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none
            stream.reconfigure(errors="replace")  # Windows' code pages lack most of the world's letters
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE}", description=(__doc__ or "").partition(":")[0] + ".")
    commands = parser.add_subparsers(dest="command", required=True)
    for group in (demo, learning, read, audit):
        group.add_commands(commands)
    args = parser.parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"  # whatever the configuration of a checkpoint names
    where = f"{parser.prog} {args.command}:"
    try:
        args.run(args)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f'{where} the package "{error.name}" is not installed; run: pip install "rs-corrector[diffusers]", or in '
            "the repository: python install.py demo"
        ) from error
    except RSCorrectorError as refusal:
        raise SystemExit(f"{where} {refusal}") from None
    except BrokenPipeError:  # the reader of the output stopped, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at exit
    except OSError as error:
        if not error.filename and error.errno not in DISK_IS_FULL:
            raise  # not about a file
        file = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{where} {file}{why_not(error)}.") from None
