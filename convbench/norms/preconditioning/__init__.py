"""What ConvNorm is made of: the preconditioner, and the ways to convolve and filter on a torus."""
