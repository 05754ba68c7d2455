"""From waveforms to spectra and other features, and augmentation of waveforms and spectra."""
