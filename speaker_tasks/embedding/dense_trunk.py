"""The trunk of CAM++: a convolutional head, then densely connected TDNN blocks with context-aware masks.

Wang et al., *CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking*, Interspeech
2023 (arXiv 2303.00332). Batch normalisations are folded: into the convolution before them, or into `ScaledReLU` where
they stand before one. Everything is `(B, F, T, C)`, or `(B, C, F, T)` as Keras is set; F is 1 behind the head.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from speaker_tasks.embedding.masks import after, channel_axis, mask
from speaker_tasks.embedding.members import DenseTrunk


def dense_trunk(trunk: DenseTrunk, spectrogram, length):
    """Spectrograms, masked, to a map of one row, and the lengths left of `length`; this may be None."""
    x = _head(trunk, spectrogram, length)
    # The head's last map becomes one row; all of its rows are seen at once, for 5 frames.
    x = layers.ZeroPadding2D((0, 2))(mask(x, length))
    rows = x.shape[2 if channel_axis() == 1 else 1]
    x = layers.Conv2D(trunk.channels, (rows, 5), strides=(1, 2), activation="relu", name="tdnn")(x)
    length = after(length, 2)
    segments = Segments(trunk.segment, name="segments")([x] if length is None else [x, length])
    for number in range(1, len(trunk.blocks) + 1):
        x = _block(trunk, x, length, segments, number)
    return ScaledReLU(name="out_relu")(x), length


def dense_tail(trunk: DenseTrunk, x):
    """The trunk's last block and what follows, on what the block before it gave; all frames valid."""
    x = _block(trunk, x, None, Segments(trunk.segment, name="segments")([x]), len(trunk.blocks))
    return ScaledReLU(name="out_relu")(x)


def _block(trunk: DenseTrunk, x, length, segments, number: int):
    """One densely connected block and the transition behind it."""
    block = trunk.blocks[number - 1]
    for layer in range(1, block.layers + 1):
        added = _dense_layer(trunk, x, length, segments, dilation=block.dilation, name=f"block{number}_{layer}")
        x = layers.Concatenate(channel_axis())([x, added])
    x = ScaledReLU(name=f"transit{number}_relu")(x)
    return layers.Conv2D(x.shape[channel_axis()] // 2, 1, use_bias=False, name=f"transit{number}")(x)


def _head(trunk: DenseTrunk, x, length):
    """Residual convolutions that keep the time and take the frequencies down to an eighth."""
    x = layers.Conv2D(trunk.head_filters, 3, padding="same", activation="relu", name="head_conv1")(x)
    for name, stride in (("head_1a", 2), ("head_1b", 1), ("head_2a", 2), ("head_2b", 1)):
        x = _residual(x, length, stride, name)
    return layers.ReLU()(_conv3(mask(x, length), trunk.head_filters, 2, "head_conv2"))


def _residual(x, length, stride: int, name: str):
    filters = x.shape[channel_axis()]
    shortcut = x
    if stride > 1:
        shortcut = layers.Conv2D(filters, 1, strides=(stride, 1), name=f"{name}_shortcut")(x)
    x = layers.ReLU()(_conv3(mask(x, length), filters, stride, f"{name}_conv1"))
    x = _conv3(mask(x, length), filters, 1, f"{name}_conv2")
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _conv3(x, filters: int, stride: int, name: str):
    """A 3x3 convolution, padded alike on both sides; Keras' own "same" pads a strided one by the input's parity."""
    if stride == 1:
        return layers.Conv2D(filters, 3, padding="same", name=name)(x)
    return layers.Conv2D(filters, 3, strides=(stride, 1), name=name)(layers.ZeroPadding2D(1)(x))


def _dense_layer(trunk: DenseTrunk, x, length, segments, *, dilation: int, name: str):
    x = ScaledReLU(name=f"{name}_relu")(x)
    x = mask(layers.Conv2D(trunk.bottleneck, 1, activation="relu", name=f"{name}_in")(x), length)
    local = layers.Conv2D(
        trunk.growth, (1, 3), dilation_rate=(1, dilation), padding="same", use_bias=False, name=f"{name}_local"
    )(x)
    return ContextMask(name=f"{name}_mask")([local, x, *segments])


@keras.saving.register_keras_serializable("speaker_tasks")
class ScaledReLU(layers.Layer):
    """A batch normalisation that learns no more, and ReLU: `max(0, scale * x + offset)` for each channel."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.axis = channel_axis()

    def build(self, input_shape):
        size = input_shape[self.axis]
        self.scale = self.add_weight(shape=(size,), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(size,), initializer="zeros", name="offset")
        self._shape = (size, 1, 1) if self.axis == 1 else (size,)

    def call(self, x):
        return ops.relu(x * ops.reshape(self.scale, self._shape) + ops.reshape(self.offset, self._shape))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("speaker_tasks")
class Segments(layers.Layer):
    """How frames are averaged for the context masks, and how what follows from it goes back to the frames.

    The inputs are a map of T frames, and its lengths if masked. The outputs are `(B or 1, S, T)`, the mean of a row's
    frames plus the mean of each segment's, and `(S, T)`, 1 where a frame lies in a segment; S = ceil(T / size).
    """

    def __init__(self, size: int, **kwargs) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.size, self.axis = size, channel_axis()

    def call(self, inputs):
        frames = ops.arange(ops.shape(inputs[0])[3 if self.axis == 1 else 2], dtype="int32")
        number = frames // self.size
        members = ops.cast(ops.equal(ops.expand_dims(number[:: self.size], 1), number[None, :]), "float32")
        valid = ops.ones_like(members[:1])
        if len(inputs) > 1:
            valid = ops.cast(frames[None, :] < inputs[1][:, None], "float32")
        valid = valid[:, None, :]
        own = members[None] * valid
        # A segment that is all padding has no mean: its frames are masked anyway.
        mean = own / ops.maximum(ops.sum(own, axis=-1, keepdims=True), 1.0)
        return mean + valid / ops.sum(valid, axis=-1, keepdims=True), members

    def compute_output_spec(self, inputs):
        batch = inputs[0].shape[0] if len(inputs) > 1 else 1
        return keras.KerasTensor((batch, None, None), "float32"), keras.KerasTensor((None, None), "float32")

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("speaker_tasks")
class ContextMask(layers.Layer):
    """Weigh each channel of a segment by what the whole row and the segment say: `(B, 1, T, C)` to the same.

    The inputs are the map to be weighed, the one that its weights are made of, and what `Segments` gives. Weights are
    made once a segment, not once a frame, which is the same.
    """

    REDUCTION = 2

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.axis = channel_axis()

    def build(self, input_shape):
        out, size = input_shape[0][self.axis], input_shape[1][self.axis]
        self.squeeze = self.add_weight(shape=(size, size // self.REDUCTION), name="squeeze")
        self.squeeze_bias = self.add_weight(shape=(size // self.REDUCTION,), initializer="zeros", name="squeeze_bias")
        self.excite = self.add_weight(shape=(size // self.REDUCTION, out), name="excite")
        self.excite_bias = self.add_weight(shape=(out,), initializer="zeros", name="excite_bias")

    def call(self, inputs):
        local, x, mean, members = inputs
        first = self.axis == 1
        x = ops.squeeze(x, 2 if first else 1)
        context = ops.matmul(mean, ops.transpose(x, (0, 2, 1)) if first else x)
        hidden = ops.relu(ops.matmul(context, self.squeeze) + self.squeeze_bias)
        weights = ops.sigmoid(ops.matmul(hidden, self.excite) + self.excite_bias)
        if first:
            return local * ops.expand_dims(ops.matmul(ops.transpose(weights, (0, 2, 1)), members), 2)
        return local * ops.expand_dims(ops.matmul(ops.transpose(members), weights), 1)

    def compute_output_shape(self, input_shape):
        return input_shape[0]
