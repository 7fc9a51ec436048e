"""Chaos: rounds of faults, kills and signals drawn from a seed, judged by an independent checker.

Only `hurried.py` imports the program: the checker works out the promises of docs/promises.md by itself.
"""
