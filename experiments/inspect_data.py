"""A look at a dataset before a long run: counts of its concepts, and contact sheets.

  python -m experiments.inspect_data --dataset DATASET --out DIR

Prints a table per category, writes all of it to DIR/concept_counts.csv, and draws every concept on
a few of its images: DIR/contact_sheet_<category>.png. Masks that are shifted, turned or of the
wrong concept are seen at once.
Time: every photograph and mask is decoded, a thousand in two seconds on two cores, and kept for the
runs that follow, 150 kB per photograph of 224 × 224 pixels (--no-cache-data keeps nothing); half a
minute more for every thousand concepts drawn.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.inspect_data import main

if __name__ == "__main__":
    run_script(main)
