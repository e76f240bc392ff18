"""The machine beneath: files that are whole or not there, locks, processes and signals, devices, memory,
progress.

It knows no model.  It may import what checks settings, and nothing else of this package; accelerate only where it is
used.
"""
