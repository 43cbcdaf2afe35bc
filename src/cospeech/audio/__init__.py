"""Speech to tensors: decoding, resampling, spectral and prosodic features, clocks."""
