"""What the guard costs, measured side by side in one run. Figures are ratios; none is asserted.

``python -m tests.benchmarks`` runs them all, ``python -m tests.benchmarks NAME ...`` some.
"""
