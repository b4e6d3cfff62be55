"""Arrays in, `Report` out: metrics, intervals, calibration, figures and the page that shows them.

A low, pure leaf: it knows no model, no data set and no simulator.
"""
