"""Live decoding: a fitted decoder on a stream of chunks, and recordings replayed as streams."""

from neuropil.evaluate.events import Decision
from neuropil.stream.decoder import RingBuffer, StreamingDecoder, replay

__all__ = ["Decision", "RingBuffer", "StreamingDecoder", "replay"]
