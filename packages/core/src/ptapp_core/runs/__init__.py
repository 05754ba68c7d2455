"""What a run directory holds: checkpoints, the log, `meta.json`, and how they are read again."""
