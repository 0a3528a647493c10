"""The vision transformer: its order of tokens, and the size of image that it takes."""

import jax
import numpy as np
import pytest
from flax import nnx

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.models.vision_transformer import Attention, Block, ViTB16

SIZE, KEYS, WIDTH = ViTB16.size, ViTB16.keys, ViTB16.size.width


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).standard_normal((2, 7, WIDTH), np.float32)


def test_a_block_knows_no_order_of_tokens(tokens):
    block = Block(SIZE, KEYS, rngs=nnx.Rngs(0))
    order = np.random.default_rng(1).permutation(tokens.shape[1])
    respond = jax.jit(lambda block, tokens: block.attend(tokens))
    found, expected = respond(block, tokens[:, order]), respond(block, tokens)
    for values, wanted in zip(found, expected, strict=True):
        # Responses are of order 1; sums over tokens are taken in another order.
        np.testing.assert_allclose(values, wanted[:, order], atol=1e-4)


def test_attention_equals_torchs(tokens):
    torch = pytest.importorskip("torch")
    module = torch.nn.MultiheadAttention(WIDTH, 12, batch_first=True).eval()
    attention = Attention(SIZE, KEYS, rngs=nnx.Rngs(0))
    generator = np.random.default_rng(2)
    with torch.no_grad():
        for packed, weight, bias in (
            (attention.queries_keys_values, module.in_proj_weight, module.in_proj_bias),
            (attention.output, module.out_proj.weight, module.out_proj.bias),
        ):
            packed.bias[...] = generator.standard_normal(bias.shape).astype(np.float32)
            weight.copy_(torch.from_numpy(np.array(packed.kernel[...]).T))
            bias.copy_(torch.from_numpy(np.array(packed.bias[...])))
        tensor = torch.from_numpy(tokens)
        expected = module(tensor, tensor, tensor, need_weights=False)[0].numpy()
    # Sums of 768 products in float32, thrice.
    np.testing.assert_allclose(
        jax.jit(Attention.__call__)(attention, tokens), expected, atol=2e-5 * expected.std() + 1e-5
    )


@pytest.mark.parametrize("size", [(256, 256), (224, 240), (240, 224)])
def test_images_of_another_size_are_refused(size):
    network = nnx.eval_shape(lambda: ViTB16(rngs=nnx.Rngs(0)))
    with pytest.raises(Net2VecError, match=f"{size[0]} × {size[1]} pixels.*resize the images"):
        network.activations(np.zeros((1, *size, 3), np.float32), ["block0"])
