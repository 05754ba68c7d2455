"""What the computer offers: devices, ranks, memory, downloads, the console."""
