"""The base class of errors that users read."""

import re

LONGEST = 1000  # characters of a message
ENDING = 300  # of which so many are its end, which says what to do
# Control characters, halves of surrogate pairs, and marks that change the direction of text.
UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class RSCorrectorError(ValueError):
    """An error whose message says what was found, what was expected and what to do; shown without a traceback."""

    def __init__(self, message=""):
        super().__init__(printable(str(message)))


def visible(text):
    """A text that may quote a file or a name, without control characters and halves of surrogate pairs."""
    return UNPRINTABLE.sub("\ufffd", text)


def printable(message):
    """A `visible` message of at most LONGEST characters."""
    message = visible(message)
    if len(message) <= LONGEST:
        return message
    return f"{message[: LONGEST - ENDING - 5]} ... {message[-ENDING:]}"


def short(value, most=60):
    """A value as text, cut to `most` characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
