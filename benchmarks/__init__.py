"""Benchmarks: suites for asv, and `peers.py`, which measures fastflow beside other libraries. See README.md."""
