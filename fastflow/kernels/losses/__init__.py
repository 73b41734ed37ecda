"""Problems as kernels see them: data, losses, gradients and Hessians by the product."""
