"""Numbers from arrays: overlap, intervals, resampling, discoveries."""
