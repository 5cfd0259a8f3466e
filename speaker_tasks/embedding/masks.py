"""How many frames of each row are valid, carried through the network, so that padding never reaches a vector."""

from __future__ import annotations

import keras
from keras import layers, ops


def channel_axis() -> int:
    """Where Keras, as it is set, keeps the channels of `(B, F, T, C)` or `(B, C, F, T)`."""
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def mask(x, length):
    """Zero what lies past each row's length; None is no mask: all frames are valid."""
    return x if length is None else TimeMask()([x, length])


def after(length, stride: int, *, round_up: bool = True):
    """Lengths after a stride; None, where all frames are valid, stays None."""
    return length if length is None or stride == 1 else StridedLength(stride, round_up=round_up)(length)


@keras.saving.register_keras_serializable("speaker_tasks")
class TimeMask(layers.Layer):
    """Zero every column of `(B, F, T, C)` or `(B, C, F, T)` past its row's number of valid frames."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.first = channel_axis() == 1

    def call(self, inputs):
        x, length = inputs
        frames = ops.arange(ops.shape(x)[3 if self.first else 2], dtype="int32")
        valid = ops.cast(frames[None, :] < length[:, None], x.dtype)
        return x * (valid[:, None, None, :] if self.first else valid[:, None, :, None])

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable("speaker_tasks")
class StridedLength(layers.Layer):
    """The number of valid frames after a convolution of the given time stride (rounded up) or pooling (down)."""

    def __init__(self, stride: int, *, round_up: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.stride, self.round_up = stride, round_up

    def call(self, length):
        return (length + (self.stride - 1 if self.round_up else 0)) // self.stride

    def compute_output_spec(self, length):
        return keras.KerasTensor(length.shape, dtype=length.dtype)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride, "round_up": self.round_up}
