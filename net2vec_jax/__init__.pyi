# The names of the face, in the order of its use; `__init__.py` imports them when first used.
from . import analysis as analysis
from . import inversion as inversion
from . import plots as plots
from . import stats as stats
from .activations.layer import LayerActivations as LayerActivations
from .activations.layer import collect_activations as collect_activations
from .activations.layer import collect_layers as collect_layers
from .activations.layer import read_activations as read_activations
from .core.errors import Net2VecError as Net2VecError
from .data.arrays import from_arrays as from_arrays
from .data.open import open_dataset as open_dataset
from .networks.adapters import wrap_function as wrap_function
from .networks.adapters import wrap_linen as wrap_linen
from .networks.adapters import wrap_nnx as wrap_nnx
from .networks.adapters import wrap_torch as wrap_torch
from .networks.load import NETWORKS as NETWORKS
from .networks.load import load_network as load_network
from .networks.loaded import LoadedNetwork as LoadedNetwork
from .networks.sae import wrap_sae as wrap_sae
from .probes.presets import CONVERGED as CONVERGED
from .probes.presets import PAPER as PAPER
from .probes.presets import REFERENCE_CODE as REFERENCE_CODE
from .report.write import write_report as write_report
from .runs.classification import ClassificationProbe as ClassificationProbe
from .runs.classification import train_classification as train_classification
from .runs.finished import FinishedRun as FinishedRun
from .runs.finished import open_run as open_run
from .runs.segmentation import SegmentationProbe as SegmentationProbe
from .runs.segmentation import train_segmentation as train_segmentation
from .runs.sources import load_probe as load_probe
from .runs.study import run_study as run_study

__version__: str
