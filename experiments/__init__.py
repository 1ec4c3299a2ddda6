"""The longer runs behind the book: protocol, trained networks, simulations. Each writes
a small table with its provenance into `book/_data`: python -m experiments.NAME
"""
