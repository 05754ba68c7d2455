"""Watching a policy: films, windows, and the page of a server."""
