"""`read`: what each preference's gate reads in prompts and how sure it is, and which wordings of its axis it misses."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.errors import visible
from .options import add_host_options, open_host

if TYPE_CHECKING:
    from ..latents.host import LearningHost
    from ..preference.preference import Preference

NO_GATE = "no gate, every picture is corrected"


def add_commands(commands: Any) -> None:
    command = commands.add_parser("read", help="print what the gate of each preference in a file reads in prompts")
    command.add_argument("file", type=Path, help="a preference file, an axis file, or the name of a shipped axis")
    prompts = "a prompt to read; without any, the names and wordings of each preference's axis are read"
    command.add_argument("prompts", nargs="*", metavar="PROMPT", help=prompts)
    add_host_options(command, draws=False)
    command.set_defaults(run=read)


def read(args: Namespace) -> None:
    from ..hosts.given import preferences_of

    host = open_host(args)
    preferences = preferences_of(args.file, lambda: host)
    if not args.prompts:
        for preference in preferences:
            print(visible(f"{preference.name}: {sentence_about_own(preference, host)}"))
    for prompt in args.prompts:
        conditioning = host.encode([prompt])
        print(visible(f'"{prompt}"'))
        for preference in preferences:
            print(visible(f"  {preference.name}: {_sentence(preference, conditioning, prompt)}"))
    for preference in preferences:
        if preference.gate_weakness:
            print(visible(f"{preference.name}: {preference.gate_weakness}"))


def _sentence(preference: "Preference", conditioning: Any, prompt: str) -> str:
    """What is read in one prompt, which is given as text as well, in words."""
    axis, gate, (reading,) = preference.axis, preference.gate, preference.readings([[conditioning]], [prompt])
    if gate is None or reading is None:
        return NO_GATE
    reason, certainty = reading.reason(axis), gate.certainty(reading, axis)
    return (
        f"left alone, {reason} ({certainty})" if reason else f"corrected as {axis.groups[reading.group]} ({certainty})"
    )


def sentence_about_own(preference: "Preference", host: "LearningHost") -> str:
    """Which names and wordings of its axis a preference's gate does not read, in words."""
    from ..gate.checks import not_read

    if preference.gate is None:
        return NO_GATE
    missed, count = not_read(preference.axis, preference.gate, host.encode_each)
    if not missed:
        return f"all {count} names and wordings of its axis are read"
    listed = "; ".join(f'"{text}"' for text in missed)
    return f"{len(missed)} of {count} names and wordings of its axis are not read: {listed}"
