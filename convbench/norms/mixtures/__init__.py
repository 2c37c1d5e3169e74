"""What mixture normalization is made of: the mixture, its fit, and the passes over a batch."""
