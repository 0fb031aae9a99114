"""Benchmarks: ratios side by side in one run, beside a control. Times are reported, never asserted."""
