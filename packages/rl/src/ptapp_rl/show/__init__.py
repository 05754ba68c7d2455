"""Watching a policy: films and windows."""
