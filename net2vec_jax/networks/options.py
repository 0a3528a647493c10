"""What a weight file does not show: which of its networks is meant, and what that one sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.spellings import ChannelOrder, Channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """How a weight file is read, where it does not show that itself.

    Attributes:
      checkpoint_key: of a weight file that holds several networks, the one that is meant: a
        checkpoint's entry ("state_dict_ema", "teacher") or what its keys begin with
        ("encoder_k").
      mean: of red, green and blue from 0 to 255, that the network was trained with; by default
        that of the published weights, or what the file's source says.
      deviation: of red, green and blue, by which they were divided after that.
      channel_order: in which the network wants red, green and blue; mean and deviation are given
        as red, green and blue all the same.
      sae: sparse autoencoders of layers, each as LAYER=FILE: its latents are the filters of one
        more layer, LAYER.sae (docs/sae.md).
    """

    checkpoint_key: str | None = None
    mean: Channels | None = None
    deviation: Channels | None = None
    channel_order: ChannelOrder | None = None
    sae: tuple[str, ...] = ()

    @property
    def chosen(self) -> dict[str, Any]:
        """The options that were given, by name, as JSON takes them and `load_network` too."""
        names = [field.name for field in dataclasses.fields(WeightOptions)]
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value not in (None, ())}

    def check_options(self) -> None:
        """Refuse what makes no sense.

        Raises:
          Net2VecError: names the flag.
        """
        if self.deviation is not None and min(self.deviation) <= 0:
            raise Net2VecError(f"--deviation {self.deviation}: images are divided by it; above 0")
        for name in ("mean", "deviation"):
            values = getattr(self, name)
            if values is not None and max(values) <= 1 and values != (1, 1, 1) and any(values):
                raise Net2VecError(
                    f"--{name} {values}: on the scale 0 … 255, as pixels are; multiply by 255"
                )


def read_options(record: Mapping[str, Any]) -> WeightOptions:
    """The options that a record has under "weight_options", if it has any.

    Args:
      record: as JSON was read back.

    Raises:
      Net2VecError: they are none.
    """
    noted = record.get("weight_options") or {}
    known = {field.name for field in dataclasses.fields(WeightOptions)}
    if not isinstance(noted, Mapping) or not noted.keys() <= known:
        raise Net2VecError(f"what was noted of how weights are read is damaged: {noted!r:.200}")
    tuples: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in noted.items()}
    return WeightOptions(**tuples)
