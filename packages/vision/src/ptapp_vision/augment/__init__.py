"""Augmentation of whole batches, each sample with its own random draws."""
