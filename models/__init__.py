"""From pixels to findings: bundles, routing, decoding, preprocessing, inference, explanation.

Importing this package imports nothing: a CPU worker takes what it needs and never sees torch.
"""
