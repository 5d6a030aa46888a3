"""What compressors achieve."""
