"""What a fitted decoder uses: which electrodes, when, which rhythms, and whether the answer means anything.

`explain` puts everything together for any classifier of windows. The parts can be called by themselves:

- `patterns`: how the activity goes with the decoder's output (Haufe et al. 2014), for any decoder;
- `occlusion`: what the decoder loses without an electrode, a stretch of time, a frequency band, for any decoder;
- `saliency`: integrated gradients of networks, over time and over frequencies;
- `attention`: where a Transformer or a graph network attends;
- `sanity`: the same explanation of decoders that were trained on shuffled labels.

>>> from neuropil.explain import explain
>>> explanation = explain(decoder, X)                  # doctest: +SKIP
>>> explanation.plot("explanation.html")               # doctest: +SKIP
"""

from neuropil.explain.attention import attention_maps, attention_rollout
from neuropil.explain.explanation import Explanation, explain
from neuropil.explain.occlusion import Occlusion, occlude_bands, occlude_channels, occlude_times
from neuropil.explain.patterns import decoder_patterns, output_patterns
from neuropil.explain.saliency import IntegratedGradients, integrated_gradients, network_saliency
from neuropil.explain.sanity import SanityCheck, check_sanity

__all__ = [
    "Explanation",
    "IntegratedGradients",
    "Occlusion",
    "SanityCheck",
    "attention_maps",
    "attention_rollout",
    "check_sanity",
    "decoder_patterns",
    "explain",
    "integrated_gradients",
    "network_saliency",
    "occlude_bands",
    "occlude_channels",
    "occlude_times",
    "output_patterns",
]
