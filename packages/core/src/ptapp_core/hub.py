"""The hub that pretrained weights come from."""

import socket


def reachable(host: str = "huggingface.co") -> bool:
    """Whether the hub answers at all; asked first, a job without a network need not wait for its client's retries."""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True
