"""Chaos: rounds of faults, kills and signals drawn from a seed, judged by a checker of their own.

Nothing here but `hurried.py` imports the program: what is promised is worked out anew from docs/promises.md.
"""
