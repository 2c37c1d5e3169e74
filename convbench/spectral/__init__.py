"""Singular values of a network's layers as the linear operators that they are."""

from convbench.spectral.norm import SpectralNorm, kernel_matrix_norm, spectral_norm

__all__ = ["SpectralNorm", "kernel_matrix_norm", "spectral_norm"]
