"""Gradient flows by integrating the factors."""
