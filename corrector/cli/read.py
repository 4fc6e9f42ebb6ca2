"""`read`: what each preference's gate reads in prompts and how sure it is, and which wordings of its axis it misses."""

from pathlib import Path

from ..files.errors import visible
from .options import add_host_options, open_host


def add_commands(commands):
    one = commands.add_parser("read", help="print what the gate of each preference in a file reads in prompts")
    one.add_argument("file", type=Path, help="a preference file")
    own = "a prompt to read; without any, the names and wordings of each preference's axis are read"
    one.add_argument("prompts", nargs="*", metavar="PROMPT", help=own)
    add_host_options(one, draws=False)
    one.set_defaults(run=read)


def read(args):
    from ..preference.file import load_preferences

    preferences = load_preferences(args.file)
    host = open_host(args)
    if not args.prompts:
        for preference in preferences:
            print(visible(f"{preference.name}: {sentence_about_own(preference, host)}"))
    for prompt in args.prompts:
        conditioning = host.encode([prompt])
        print(visible(f'"{prompt}"'))
        for preference in preferences:
            print(visible(f"  {preference.name}: {sentence(preference, conditioning)}"))


def sentence(preference, conditioning):
    """What a preference's gate reads in one prompt, in words."""
    if preference.gate is None:
        return "no gate, every picture is corrected"
    axis, reading = preference.axis, preference.gate.read([conditioning])
    read_from = preference.gate.config
    sure = (
        f"names {axis.groups[reading.nearest]} {reading.named:.2f} of {read_from['in_scope']:.2f} needed, "
        f"asks for something {reading.asked:.2f} of {read_from['asked']:.2f}"
    )
    why = reading.said(axis)
    return f"left alone, {why} ({sure})" if why else f"corrected as {axis.groups[reading.group]} ({sure})"


def sentence_about_own(preference, host):
    """Which names and wordings of its axis a preference's gate does not read, in words."""
    from ..gate.checks import not_read

    if preference.gate is None:
        return "no gate, every picture is corrected"
    missed, count = not_read(preference.axis, preference.gate, host.encode_each)
    if not missed:
        return f"all {count} names and wordings of its axis are read"
    listed = "; ".join(f'"{text}"' for text in missed)
    return f"{len(missed)} of {count} names and wordings of its axis are not read: {listed}"
