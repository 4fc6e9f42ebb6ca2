"""The base class of errors that users read."""

import re

LONGEST_MESSAGE = 1000  # characters
MESSAGE_ENDING = 300  # characters of its end, which says what to do, that a cut message keeps
# Control characters, halves of surrogate pairs, and marks that change the direction of text.
UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class RSCorrectorError(ValueError):
    """An error whose message says what was found, what was expected and what to do; shown without a traceback."""

    def __init__(self, message: object = ""):
        super().__init__(printable(str(message)))


def visible(text: str) -> str:
    """A text that may quote a file or a name, without control characters and halves of surrogate pairs."""
    return UNPRINTABLE.sub("\ufffd", text)


def printable(message: str) -> str:
    """A `visible` message of at most LONGEST_MESSAGE characters."""
    message = visible(message)
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[: LONGEST_MESSAGE - MESSAGE_ENDING - 5]} ... {message[-MESSAGE_ENDING:]}"


def short(value: object, most: int = 60) -> str:
    """A value as text, cut to `most` characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
