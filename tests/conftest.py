"""What all tests share: a fixed number of devices, strict JAX, real data where it is present.

Warnings are errors (pyproject.toml). Small random problems are built in `helpers`.
"""

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

SIMULATED_DEVICES = 1
"""Host devices that JAX sees; a test that needs several starts a process of its own."""

# Most of the tests' time is compilation: with these it takes half to three quarters of the time,
# and programs are no slower.
# Whoever sets XLA_FLAGS (`.ci/newest` does) tests programs as users compile them.
COMPILE_FAST = (
    "--xla_backend_optimization_level=2 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", COMPILE_FAST)
os.environ["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={SIMULATED_DEVICES}"

# Programs that one process has compiled are read by the others, and by the next run of the tests.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import jaxtyping  # noqa: E402
import shape_checks  # noqa: E402

jaxtyping.jaxtyped = shape_checks.leave_other_functions(jaxtyping.jaxtyped)
jaxtyping.install_import_hook("net2vec_jax", "shape_checks.check_arrays")

import filelock  # noqa: E402
import hypothesis  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from net2vec_jax.activations.compute import compute_activations  # noqa: E402
from net2vec_jax.data.broden.dataset import BrodenDataset  # noqa: E402
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks  # noqa: E402
from net2vec_jax.networks.load import load_network  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

hypothesis.settings.register_profile(
    "suite",
    deadline=None,  # the first example of a shape compiles
    derandomize=True,
    database=None,
    max_examples=25,
)
hypothesis.settings.load_profile("suite")

# Traces and programs are millions of objects, among which Python looks for cycles again and again.
gc.set_threshold(20_000, 20, 20)

pytest_plugins = ["finished_runs"]
"""Runs that tests of runs, studies and scripts share."""
ROOT = Path(__file__).resolve().parents[1]
MOST_MAPS = 20_000
"""Parts of a process' memory; with 65,530 of them, Linux' default limit, it crashes."""


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests keep in the user's cache is not kept there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NET2VEC_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


LITTLE_OPTIMISED = re.compile(
    r"probes/.*|runs/test_(segmentation|responses)|experiments/test_skip_bad_images"
    r"|studies/test_does_it_matter"
)
"""Modules that compile many programs, each of which runs for a moment."""


@pytest.fixture(scope="module", autouse=True)
def _little_optimisation(request: pytest.FixtureRequest) -> Iterator[None]:
    """What compiles longer than it runs is compiled in half the time, and not left to others."""
    module = request.path.relative_to(ROOT / "tests").with_suffix("").as_posix()
    if not (
        os.environ["XLA_FLAGS"].startswith(COMPILE_FAST) and LITTLE_OPTIMISED.fullmatch(module)
    ):
        yield
        return
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def _few_compiled_programs() -> Iterator[None]:
    """Compiled programs are given up before their memory has more parts than Linux allows."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def folder_of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder for what one worker computes under a lock and all read."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(autouse=True)
def _wrong_shapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked `wrong_shapes` see our own refusal of a shape, not the typechecker's."""
    if request.node.get_closest_marker("wrong_shapes") is None:
        yield
        return
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Small reference arrays that are part of the repository."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real data and full goldens beside the repository."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"the folder of real data and full goldens is absent: {path}")
    return path


@pytest.fixture(scope="session")
def full_torchvision_dir() -> Path | None:
    """More outputs of torchvision's networks than in `golden_dir`; None where they are absent."""
    path = ROOT.parent / "shared" / "golden" / "torchvision"
    return path if path.is_dir() else None


@pytest.fixture(scope="session")
def camvid(shared_dir: Path) -> BrodenDataset:
    """1,402 photographs with 24 concepts: 11 colours, 11 objects, 2 scenes."""
    return BrodenDataset(shared_dir / "data" / "camvid_broden")


@pytest.fixture(scope="session")
def camvid_masks(camvid: BrodenDataset) -> ConceptMasks:
    """All masks of `camvid`."""
    return collect_concept_masks(camvid)


@pytest.fixture(scope="session")
def block10_activations(camvid: BrodenDataset, folder_of_all_workers: Path) -> np.ndarray:
    """float32 [1402, 14, 14, 112] of our EfficientNet-Lite0."""
    path = folder_of_all_workers / "block10.npy"
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            loaded = load_network("efficientnet_lite0")
            batches = compute_activations(
                loaded.network, camvid, ["block10"], preprocess=loaded.preprocessing("imagenet")
            )
            np.save(path, np.concatenate([batch["block10"] for batch in batches]))
    return np.load(path)


@pytest.fixture(scope="session")
def goldens(shared_dir: Path) -> Path:
    """Numbers that the original code gave; its README says how."""
    return shared_dir / "golden" / "net2vec_reference"
