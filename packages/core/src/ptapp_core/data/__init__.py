"""From files on a disk to batches in a fixed order."""
