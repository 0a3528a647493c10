"""One HTML page on a finished run: scores, concepts, filters, pictures and the embedding explorer.

  python -m experiments.report --run runs/quickstart/head

Writes RUN/report.html, one file that needs no server and asks for nothing outside itself: open it
in a browser, or send it to somebody. Pictures need the run's images and stored activations; if they
have moved, name them with --dataset and --activations. Without them the page has
all but the pictures.
Time: 118 concepts and 1,280 filters take about ten seconds on 2 CPU cores.
Expected: about 10 MB for 100 concepts; runs of many concepts get fewer and smaller pictures each.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.report import main

if __name__ == "__main__":
    run_script(main)
