"""What a bundle is worth on given images: every figure with its interval, and what was left out.

The statistics are pure functions of arrays, a module per subject; :mod:`models.evaluating.run` puts them together.
"""
