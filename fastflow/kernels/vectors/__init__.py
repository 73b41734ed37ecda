"""Arrays of numbers in SIMD registers: layouts, elementwise operations, inner products, matrix products, factors."""
