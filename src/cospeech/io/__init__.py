"""Motion files to plain tensors and back."""
