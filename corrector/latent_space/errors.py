"""The base class of errors that users read."""


class RSCorrectorError(ValueError):
    """An error whose message says what was found, what was expected and what to do; shown without a traceback."""
