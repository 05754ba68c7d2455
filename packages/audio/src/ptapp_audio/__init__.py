"""Sounds: features and spectrogram classification."""
