"""Options that several commands share, and the checkpoint that they name."""

import argparse


def count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of 1 or more')
    return int(text)


def add_host_options(parser):
    from . import commands

    commands._add_host_options(parser)


def open_host(args):
    from . import commands

    return commands._host(args)
