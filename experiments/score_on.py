"""Do a run's embeddings mark their concepts on another dataset, which they were not trained on?

  python -m experiments.score_on --run RUN --dataset my_folder --out OUT
  python -m experiments.score_on --run RUN --dataset my_folder --out OUT --table pairs.csv
  python -m experiments.score_on --run RUN --dataset my_folder --out OUT --match synset \\
      --wordnet DIR [--hypernyms]

Concepts of the run's dataset A and of dataset B are matched by name, number, WordNet synset or a
table with the columns a and b. OUT receives score_on.csv (set IoU on A's val images and on B with
intervals, and of marking everything), unmatched.csv, summary.json and figures/score_on.
Time: a forward pass over B's images with a matched concept, and seconds.
Expected: embeddings lose some of their IoU on other photographs; those of large stuff lose least.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.score_on import main

if __name__ == "__main__":
    run_script(main)
