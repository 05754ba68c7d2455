"""The reason why a recording cannot be read."""


class Unreadable(Exception):
    """A recording that cannot be read; the message is the reason, on one line and without the file's name."""
