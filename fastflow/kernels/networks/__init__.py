"""Networks as kernels see them: products, gradients and Hessians by the factors, and groups of runs."""
