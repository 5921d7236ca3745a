"""The virtual camera: rendered pictures of people with exact truth.

`world` (`walkers`, `traffic`, truth) knows no pictures, `renderer` (`background`, `figures`, `effects`) no
time, `source` only pace and parameters.
"""
