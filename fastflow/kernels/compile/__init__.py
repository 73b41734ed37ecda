"""Numba for kernels: the one place that compiles them, and what it compiles for."""
