"""Models: ordinary modules that map a batch of inputs [B, *in_shape] to outputs [B, out_features]."""
