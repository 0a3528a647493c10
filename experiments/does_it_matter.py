"""Does the network use a concept that its responses encode?

  python -m experiments.does_it_matter --run RUN --class-names NAMES.txt
  python -m experiments.does_it_matter --run RUN --concepts sheep car --classes sheep=348,349 817

For a finished run of experiments.segmentation, RUN/does_it_matter receives sensitivity.csv (how
each class's logit changes along each concept's direction; TCAV), interventions.csv (what becomes of
the logits if the concept is removed from the layer's responses, added, or its filters silenced,
beside random directions and filters), examples.csv, and figures; experiments.report shows them. See
docs/does_it_matter.md.
Time: of a middle layer, minutes for eight concepts on 2 cores, nearly all for interventions.
Expected: at the last map most objects raise the logits of their own classes alone; at middle layers
few directions matter more than random ones, since all that follows is far from linear.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.does_it_matter import main

if __name__ == "__main__":
    run_script(main)
