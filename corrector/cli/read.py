"""`read`: what each preference's gate reads in prompts, and how sure it is."""

from pathlib import Path

from .options import add_host_options, open_host


def add_commands(commands):
    one = commands.add_parser("read", help="print what the gate of each preference in a file reads in prompts")
    one.add_argument("file", type=Path)
    one.add_argument("prompts", nargs="+", metavar="PROMPT")
    add_host_options(one)
    one.set_defaults(run=read)


def read(args):
    from ..preference.file import load_preferences

    preferences = load_preferences(args.file)
    host = open_host(args)
    for prompt in args.prompts:
        conditioning = host.encode([prompt])
        print(f'"{prompt}"')
        for preference in preferences:
            print(f"  {preference.name}: {sentence(preference, conditioning)}")


def sentence(preference, conditioning):
    """What a preference's gate reads in one prompt, in words."""
    if preference.gate is None:
        return "no gate, every picture is corrected"
    axis, reading = preference.axis, preference.gate.read([conditioning])
    sure = f"names {axis.groups[reading.nearest]} {reading.named:.2f}, asks for something {reading.asked:.2f}"
    why = reading.said(axis)
    return f"left alone, {why} ({sure})" if why else f"corrected as {axis.groups[reading.group]} ({sure})"
