"""Images to train on: every reader returns the same three splits."""
