"""A side-by-side benchmark: this library beside loops written in torch and JAX, on one machine, in turns.

A harness process keeps one worker process a row alive and asks them in rotating order, so that whatever
else the machine does slows all rows alike. Every row must first reach the numbers of a float64 NumPy run.
"""
