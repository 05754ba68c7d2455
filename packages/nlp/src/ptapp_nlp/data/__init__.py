"""Texts to train on: every reader returns the same three splits, and texts become numbers."""
