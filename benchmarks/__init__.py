"""Times beside the time of something else, measured in one run: python -m benchmarks.NAME"""
