"""The Keras backend of this process: chosen once, when Keras is first imported."""

from __future__ import annotations

import os
import sys
from typing import Any

from speaker_tasks.embedding.weights import Weights, assign
from speaker_tasks.errors import ConfigurationError


def import_keras(backend: str) -> Any:
    """Import Keras on a backend. Raises ConfigurationError when it runs on another already.

    A variable of the environment is the only switch that Keras has.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    import keras

    if keras.backend.backend() != backend:
        raise ConfigurationError(f"Keras already runs on {keras.backend.backend()!r} in this process, not {backend!r}")
    return keras


def build(weights: Weights, *, masked: bool = True, channels_first: bool = False, policy: str = "float32") -> Any:
    """The network of a weights file, with its weights, on the backend that Keras has.

    `policy` is a Keras dtype policy; Keras' own defaults are left as they were.
    """
    import keras

    from speaker_tasks.embedding import network

    config = keras.config
    layout, before = config.image_data_format(), config.dtype_policy()
    config.set_image_data_format("channels_first" if channels_first else "channels_last")
    config.set_dtype_policy(policy)
    try:
        model = network.build(weights.config, masked=masked)
    finally:
        config.set_image_data_format(layout)
        config.set_dtype_policy(before)
    assign(model, weights.tensors)
    return model
