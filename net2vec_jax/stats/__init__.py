"""Pure numbers: overlap and IoU, means, intervals, resampling, false discoveries."""
