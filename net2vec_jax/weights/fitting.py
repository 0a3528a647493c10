"""Find a network's weights among the keys of a file, whatever they were wrapped in.

Real files seldom hold a network's keys and no others: training wraps modules (`module.`,
`_orig_mod.`), puts the network beside others (`backbone.`, `encoder_q.`), replaces or drops the
classifier, and leaves counters. One prefix, whatever its name, is taken away where it explains
every parameter below the classifier; nothing else is guessed.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.weights.layouts import Shape
from net2vec_jax.weights.porting import Renames, drop_ones, rename_keys
from net2vec_jax.weights.spellings import Spelling, respell

Arrays = Mapping[str, np.ndarray]

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of keys that torch's parallel, compiled, sharded and checkpointed modules add anywhere."""
_PARAMETER = re.compile(r".*(weight|bias|kernel|scale|gamma|beta|alpha|slope)s?$")
# Names of what comes behind a network or normalises its images, or is compared with what it gives.
_BEHIND = re.compile(
    r"(.*_)?(heads?|fc|logits?|linear|(proj|proto|predict|classif|queue|aux)\w*|criterion|loss"
    r"|mlp_head|memory_bank|centers?|pooler|mean|std|normali[sz]\w*)\d*"
)
# Which of two equal networks follows the other: its average, its momentum encoder, its target.
_FOLLOWER = re.compile(r"ema|averag|momentum|target|_k(\.|$)")
# Whose names keys are, where no spelling of the network reads them.
_LIBRARIES = (
    ("Flax or Keras", r"(params|batch_stats)[./]|.*[./](kernel|moving_mean)(:0)?$"),
    ("transformers", r"(\w+\.)?(embedder\.embedder|embeddings\.\w+|encoder\.(layer|stages?))\."),
    ("timm", r"(conv_stem|patch_embed\.proj|stem\.0|stages\.\d+\.blocks|head\.fc|pre_logits)\."),
)
# Weights that are not there as such, and what makes them.
_REMEDIES = (
    (
        r"(.*(?:weight|bias))_mask$",
        "the network was pruned ({0} is {0}_orig · {0}_mask): make that permanent with "
        "torch.nn.utils.prune.remove, and save its state_dict() again",
    ),
    (
        r"(.*weight)_(g|v|u|orig)$|(.*)\.original\d*$",
        "its weights are parametrised ({0}): call "
        "torch.nn.utils.parametrize.remove_parametrizations or remove_weight_norm, and save its "
        "state_dict() again",
    ),
    (
        r"(.*)\.(lora_\w+|base_layer)\b",
        "it holds LoRA's additions to weights ({0}): merge them with merge_and_unload(), and save "
        "the network again",
    ),
    (
        r"(.*)\.?(zero_points?|_packed_params|\w*fake_quant|activation_post_process|q(weight|zeros)"
        r"|absmax|quant_map|weight_scale(_inv)?|SCB)\b",
        "it is quantised ({0}): give the file of the network before that, in float32 or float16",
    ),
    (
        r"(.*_?flat_param)s?\b",
        "it is one rank's part of a sharded network ({0}): save it whole, with "
        "StateDictType.FULL_STATE_DICT",
    ),
)


@dataclass(frozen=True)
class Wanted:
    """What a network asks of a file.

    Attributes:
      shapes: of every array, by the original's keys.
      head: what may be missing or other, since it comes behind the layers worth probing: the keys
        of each of its layers, in their order.
      logits_key: of the last; the array's first axis are the classes.
      spellings: other libraries' names.
      renames: how keys of older files are spelt today.
      ignored: shell patterns of keys that have no counterpart.
    """

    shapes: Mapping[str, Shape]
    head: Sequence[Sequence[str]] = ()
    logits_key: str = ""
    spellings: Sequence[Spelling] = ()
    renames: Renames = ()
    ignored: Sequence[str] = ()

    @property
    def body(self) -> list[str]:
        """The keys that no file may lack."""
        head = {key for keys in self.head for key in keys}
        return [key for key in self.shapes if key not in head]


@dataclass(frozen=True)
class Fit:
    """A network's weights, as they were found in a file.

    Attributes:
      arrays: by the original's keys; what is known not to belong to the network is left out.
      prefix: what its keys began with in the file, without the last dot.
      spelling: whose names they had; None of the original's.
      without: keys of the head that the file lacks or has otherwise.
      remarks: what has to be said of all this.
      advice: what may be wrong, should the arrays not fit after all; empty if that is not known.
    """

    arrays: dict[str, np.ndarray]
    prefix: str = ""
    spelling: Spelling | None = None
    without: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """The keys behind one prefix, under the original's names."""

    prefix: str
    spelling: Spelling | None
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def depth(self) -> int:
        return len(self.prefix.split(".")) if self.prefix else 0


def fit_keys(weights: Arrays, wanted: Wanted, *, prefix: str | None = None) -> Fit:
    """Find a network's arrays in a file.

    A file that does not hold them gives the prefix that comes nearest; porting then lists what is
    missing.

    Args:
      weights: arrays by the keys of the file.
      wanted: by the network.
      prefix: what the network's keys begin with; by default the one that explains all.

    Raises:
      Net2VecError: several prefixes explain all, of other weights each, and none is usual; or
        `prefix` is the beginning of no key.

    Examples:
      >>> file = {"encoder.conv.weight": np.ones((2, 3)), "head.weight": np.ones((7, 2))}
      >>> fit = fit_keys(file, Wanted({"conv.weight": (2, 3)}))
      >>> fit.prefix, list(fit.arrays), fit.remarks[1]
      ('encoder', ['conv.weight'], 'not used: head (1 array)')
    """
    raw, weights = weights, strip_wrappers(weights)
    wrappers = [name for name in WRAPPERS if any(name in key.split(".") for key in raw)]
    if prefix is not None:
        prefix = ".".join(part for part in prefix.split(".") if part not in WRAPPERS)
        if not any(key.startswith(f"{prefix}.") for key in weights):
            raise Net2VecError(
                f"no key begins with {prefix!r}; there are: {list_names(_count_parts(weights, ''))}"
            )
    chosen, remarks = _choose(list(_find_candidates(weights, wanted, prefix)), wanted)
    if wrappers and weights.keys() != raw.keys():
        remarks = [f"{list_names(wrappers)} was taken out of its keys", *remarks]
    arrays = chosen.arrays
    if chosen.spelling is not None:
        arrays = {key: _reshape(array, wanted.shapes.get(key)) for key, array in arrays.items()}
    without = _find_missing_head(arrays, wanted) if arrays.keys() >= set(wanted.body) else []
    if without:
        modules = dict.fromkeys(key.rpartition(".")[0] or key for key in without)
        remarks.append(f"it has no {list_names(modules)} that fits")
    outside = [key for key in weights if not _is_below(key, chosen.prefix)]
    kept, behind = {}, []
    linear = _find_linear(arrays) if without else set()
    for key, array in arrays.items():
        if key in wanted.shapes:
            if key not in without:
                kept[key] = array
            else:
                behind.append(key)
        elif _is_behind(key, wanted, without, linear):
            behind.append(key)
        elif not _is_ignored(key, array, wanted):
            kept[key] = array
    unused = _count_parts(outside, "") | _count_parts(behind, chosen.prefix)
    counted = [f"{name} ({n} array{'s' * (n > 1)})" for name, n in unused.items()]
    if counted:
        remarks.append(f"not used: {list_names(counted)}")
    advice = _advise(weights, chosen)
    return Fit(kept, chosen.prefix, chosen.spelling, frozenset(without), tuple(remarks), advice)


def strip_wrappers(weights: Arrays) -> dict[str, np.ndarray]:
    """The arrays without the names of wrapping modules in their keys.

    They stand first in every key where the whole model was wrapped, or further on in some where a
    part of it was. Keys stay as they are where two would become one.
    """
    stripped = {
        ".".join(part for part in key.split(".") if part not in WRAPPERS): array
        for key, array in weights.items()
    }
    return stripped if len(stripped) == len(weights) else dict(weights)


def _find_candidates(weights: Arrays, wanted: Wanted, prefix: str | None) -> Iterator[_Candidate]:
    """All that the keys could mean: what lies behind each prefix, in each library's names.

    Where one module holds the whole network but for its classifier ("features"), the file may be
    that module's.
    """
    whole = list({key.partition(".")[0] for key in wanted.body})
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, array in weights.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            groups.setdefault(".".join(parts[:depth]), {})[".".join(parts[depth:])] = array
    for name, group in groups.items():
        if prefix not in (None, name):
            continue
        yield _Candidate(name, None, rename_keys(group, wanted.renames))
        around = (name.rpartition(".")[2], *(key.partition(".")[0] for key in group))
        if len(whole) == 1 and whole[0] not in around:
            inside = {f"{whole[0]}.{key}": array for key, array in group.items()}
            yield _Candidate(name, None, rename_keys(inside, wanted.renames))
        for spelling in wanted.spellings:
            if spelling.fits(group):
                yield _Candidate(
                    name, spelling, rename_keys(respell(group, spelling), wanted.renames)
                )


def _choose(candidates: list[_Candidate], wanted: Wanted) -> tuple[_Candidate, list[str]]:
    """The candidate that explains all, and what has to be said of it; or else the nearest."""
    body = wanted.body

    def explains(candidate: _Candidate, *, shapes: bool) -> bool:
        found = candidate.arrays
        return all(
            key in found
            and (not shapes or _reshape(found[key], wanted.shapes[key]).shape == wanted.shapes[key])
            for key in body
        )

    fitting = [one for one in candidates if explains(one, shapes=True)]
    fitting = fitting or [one for one in candidates if explains(one, shapes=False)]
    if not fitting:
        best = max(candidates, key=lambda one: (sum(key in one.arrays for key in body), -one.depth))
        return best, _describe(best)
    least = min(one.depth for one in fitting)
    nearest = [one for one in fitting if one.depth == least]
    leading = [one for one in nearest if not _FOLLOWER.search(one.prefix)]
    chosen = max(
        leading or nearest, key=lambda one: sum(key in one.arrays for key in wanted.shapes)
    )
    others = [one for one in fitting if not _are_equal(chosen.arrays, one.arrays, body)]
    if any(one in leading for one in others):
        names = list_names(dict.fromkeys(one.prefix for one in nearest))
        raise Net2VecError(
            f"several parts hold such a network: {names}; choose one with --checkpoint-key "
            "(checkpoint_key=…)"
        )
    remarks = _describe(chosen)
    if others:
        names = list_names(dict.fromkeys(one.prefix for one in others))
        remarks.append(f"such a network is also {names}: --checkpoint-key takes it")
    return chosen, remarks


def _describe(candidate: _Candidate) -> list[str]:
    remarks = [f"its keys begin with {candidate.prefix}."] if candidate.prefix else []
    if candidate.spelling is not None:
        remarks.append(f"names of {candidate.spelling.library}")
    return remarks


def _are_equal(one: Arrays, other: Arrays, keys: Iterable[str]) -> bool:
    return all(np.array_equal(one[key], other[key], equal_nan=True) for key in keys)


def _reshape(array: np.ndarray, shape: Shape | None) -> np.ndarray:
    """The array, as the original has it, where another library only adds or merges axes.

    A linear layer as a 1 × 1 or full-size convolution [out, in, h, w] is the same numbers as
    [out, in · h · w]; so is a factor [K] as [K, 1, 1].
    """
    if shape is None or array.size != math.prod(shape):
        return array
    return array.reshape(shape) if drop_ones(array.shape)[:1] == drop_ones(shape)[:1] else array


def _find_missing_head(arrays: Arrays, wanted: Wanted) -> list[str]:
    """Keys of the head from the first layer on of which a module is missing, or of other shape.

    Logits without bias are another classifier's.
    """
    for place, keys in enumerate(wanted.head):
        modules: dict[str, list[str]] = {}
        for key in keys:
            modules.setdefault(key.rpartition(".")[0] or key, []).append(key)
        for module in modules.values():
            found = [key for key in module if key in arrays]
            logits = wanted.logits_key in module
            if len(found) < (len(module) if logits else 1) or any(
                _without_classes(arrays[key].shape, key, wanted)
                != _without_classes(wanted.shapes[key], key, wanted)
                for key in found
            ):
                return [key for later in wanted.head[place:] for key in later]
    return []


def _without_classes(shape: Shape, key: str, wanted: Wanted) -> Shape:
    """A shape, but for the first axis where that are the classes, which are the file's."""
    module = wanted.logits_key.rpartition(".")[0]
    return shape[1:] if _is_below(key, module) else shape


def _is_below(key: str, prefix: str) -> bool:
    return not prefix or key.startswith(f"{prefix}.")


def _find_linear(arrays: Arrays) -> set[str]:
    """The first names of keys below which are matrices and nothing of more axes, as in a head."""
    axes: dict[str, int] = {}
    for key, array in arrays.items():
        first = key.partition(".")[0]
        axes[first] = max(array.ndim, axes.get(first, 0))
    return {first for first, most in axes.items() if most == 2}


def _is_behind(key: str, wanted: Wanted, without: Collection[str], linear: Collection[str]) -> bool:
    """Whether an unknown key is part of another head than the network's.

    Where the network's own is missing, whatever is `linear` takes its place.
    """
    if any(_is_below(key, known.rpartition(".")[0] or known) for known in without):
        return True
    first = key.partition(".")[0]
    if first in {known.partition(".")[0] for known in wanted.body}:
        return False
    if first in {known.partition(".")[0] for keys in wanted.head for known in keys}:
        return bool(without)
    return first in linear or _BEHIND.fullmatch(first) is not None


def _is_ignored(key: str, array: np.ndarray, wanted: Wanted) -> bool:
    """Whether a key is ignored by name, or counts something: one number that is no parameter."""
    if any(fnmatch.fnmatchcase(key, pattern) for pattern in wanted.ignored):
        return True
    return array.size <= 1 and not _PARAMETER.match(key)


def _count_parts(keys: Iterable[str], prefix: str) -> dict[str, int]:
    """How many keys each part of a file has, by the first names of the keys."""
    return dict(Counter(f"{prefix}.{key}".lstrip(".").split(".")[prefix.count(".") + bool(prefix)]
                        for key in keys))  # fmt: skip


def _advise(weights: Arrays, chosen: _Candidate) -> str:
    """What the keys tell of a file whose weights may not fit."""
    for pattern, remedy in _REMEDIES:
        for key in weights:
            found = re.match(pattern, key)
            if found:
                return remedy.format(next(filter(None, found.groups()), key))
    if chosen.spelling is not None:
        return f"read with the names of {chosen.spelling.library}"
    for library, pattern in _LIBRARIES:
        if any(re.match(pattern, key) for key in weights):
            return (
                f"its keys look like those of {library}, which are not known for this network: "
                "convert the file to the names of the network's original (docs/zoo.md), or wrap "
                "the model yourself (docs/own_models.md)"
            )
    return ""
