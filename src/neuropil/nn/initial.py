"""Initial weights as Keras draws them, where its count of inputs and outputs differs from torch's.

Glorot & Bengio (2010). Understanding the difficulty of training deep feedforward neural networks. AISTATS.
"""

from __future__ import annotations

from torch import Tensor, nn

from neuropil.nn.attention import MultiHeadAttention
from neuropil.nn.conv import DepthwiseConv1d, SpatialDepthwiseConv


def keras_glorot(module: nn.Module) -> None:
    """Give a module Glorot uniform weights and zero biases; for `nn.Module.apply`.

    Keras counts the inputs of depthwise kernels over all features, and takes the heads of an attention for taps of a kernel.
    Other modules than convolutions, linear maps and attention stay as they are.
    """
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, DepthwiseConv1d):
        fans = module.kernel_size * (module.n_features + module.multiplier)
        _uniform(module.weight, fans)
    elif isinstance(module, SpatialDepthwiseConv):
        n_features, multiplier, n_channels = module.weight.shape
        _uniform(module.weight, n_channels * (n_features + multiplier))
    elif isinstance(module, MultiHeadAttention):
        width, emb_size = module.query_key_value.weight.shape
        head_size = width // (3 * module.num_heads)
        _uniform(module.query_key_value.weight, emb_size * (module.num_heads + head_size))
        _uniform(module.output.weight, module.num_heads * (head_size + emb_size))


def _uniform(weight: Tensor, fans: int) -> None:
    bound = (6 / fans) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
