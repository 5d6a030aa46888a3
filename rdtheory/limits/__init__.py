"""What no compressor can beat."""
