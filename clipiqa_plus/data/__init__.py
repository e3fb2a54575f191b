"""Benchmarks, user data and the views of their pictures."""
