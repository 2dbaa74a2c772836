"""What real routers and servers make of a request, beside what the guard decided about it.

The targets are random and the same in every run. ``FUZZ_TARGETS`` (how many in each test) and
``FUZZ_SEED`` choose more or other ones.
"""
