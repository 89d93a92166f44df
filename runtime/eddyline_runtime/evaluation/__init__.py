"""Measuring what a world dreams: a probe that reads labels off pictures, and suites of words to read them against."""
