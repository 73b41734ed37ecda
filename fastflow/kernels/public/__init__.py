"""Kernels for users' calls, which look at what they are given and call those of the other folders, which do not."""
