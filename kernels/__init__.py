"""Neural tangent kernels of infinite and finite networks; knows nothing of `dynamics`."""
