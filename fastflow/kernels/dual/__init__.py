"""Diagonal networks by their dual: mirror maps, limits of gradient flows, and the flows."""
