"""What is said of a sound that cannot be read."""


class Unreadable(Exception):
    """A sound that cannot be read; the message is the reason, on one line and without the file's name."""
