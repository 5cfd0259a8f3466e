"""The two-dimensional residual trunk of the members `vgg` and `compact`."""

from __future__ import annotations

import keras
from keras import layers, ops

from speaker_tasks.embedding.masks import after, channel_axis, mask
from speaker_tasks.embedding.members import ResidualTrunk, Stage

BATCH_NORM_EPSILON = 1e-3


def residual_trunk(trunk: ResidualTrunk, spectrogram, length):
    """Spectrograms, masked, to a map of few rows, and the lengths left of `length`; this may be None."""
    x, length = _stem(spectrogram, length, trunk)
    block = _bottleneck if trunk.bottleneck else _basic
    for number, stage in enumerate(trunk.stages, start=2):
        for index in range(stage.blocks):
            strides = stage.strides if index == 0 else (1, 1)
            x, length = block(x, length, stage, strides, f"conv{number}_{chr(ord('a') + index)}", first=index == 0)
    if trunk.final_pool:
        x = layers.MaxPooling2D((3, 1), strides=(2, 1), name="mpool2")(x)
    return x, length


@keras.saving.register_keras_serializable("speaker_tasks")
class BatchNormalization(layers.BatchNormalization):
    """Keras' own; on torch, channels first, in torch's one fused step: training then takes little over half the time.

    Keras composes it there of a dozen operations in float32.
    """

    def call(self, inputs, training=None, mask=None):
        if keras.backend.backend() != "torch" or self.axis != 1:
            return super().call(inputs, training=training, mask=mask)
        from torch.nn.functional import batch_norm

        mean, variance = self.moving_mean.value, self.moving_variance.value
        gamma, beta = self.gamma.value, self.beta.value
        learns = bool(training) and self.trainable
        return batch_norm(inputs, mean, variance, gamma, beta, learns, 1 - self.momentum, self.epsilon)


@keras.saving.register_keras_serializable("speaker_tasks")
class MaskedMean(layers.Layer):
    """Mean over frequency and valid time of `(B, F, T, C)`: `(B, C)`."""

    def call(self, inputs):
        x, length = inputs
        count = ops.cast(length * x.shape[1], "float32")
        return ops.cast(ops.sum(ops.cast(x, "float32"), axis=(1, 2)) / count[:, None], x.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], input_shape[0][-1])


def _stem(x, length, trunk: ResidualTrunk):
    if trunk.stem_pool:
        x = _conv(x, trunk.stem_filters, trunk.stem_kernel, trunk.stem_strides, "conv1_1/3x3_s1")
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D((2, 2), strides=(2, 2))(x)
        length = after(length, 2, round_up=False)
    else:
        x = _conv(x, trunk.stem_filters, trunk.stem_kernel, trunk.stem_strides, "conv1")
        x = layers.ReLU()(x)
        length = after(length, trunk.stem_strides[1])
    return mask(x, length), length


def _bottleneck(x, length, stage: Stage, strides, name: str, *, first: bool):
    reduce, middle, increase = stage.filters
    shortcut = _conv(x, increase, 1, strides, f"{name}_1x1_proj") if first else x
    length = after(length, strides[1])
    x = layers.ReLU()(_conv(x, reduce, 1, strides, f"{name}_1x1_reduce"))
    x = mask(x, length)
    x = layers.ReLU()(_conv(x, middle, 3, (1, 1), f"{name}_3x3"))
    x = _conv(x, increase, 1, (1, 1), f"{name}_1x1_increase")
    return layers.ReLU()(layers.Add()([x, shortcut])), length


def _basic(x, length, stage: Stage, strides, name: str, *, first: bool):
    (filters,) = stage.filters
    changes = first and (strides != (1, 1) or x.shape[channel_axis()] != filters)
    shortcut = _conv(x, filters, 1, strides, f"{name}_proj") if changes else x
    length = after(length, strides[1])
    x = layers.ReLU()(_conv(x, filters, 3, strides, f"{name}_3x3_1"))
    x = mask(x, length)
    x = _conv(x, filters, 3, (1, 1), f"{name}_3x3_2")
    if stage.squeeze:
        x = _squeeze_and_excite(mask(x, length), length, stage.squeeze, name)
    x = layers.ReLU()(layers.Add()([x, shortcut]))
    return mask(x, length), length


def _squeeze_and_excite(x, length, reduction: int, name: str):
    """Hu et al., *Squeeze-and-Excitation Networks* (arXiv 1709.01507), with a masked mean."""
    channels = x.shape[channel_axis()]
    gate = layers.GlobalAveragePooling2D()(x) if length is None else MaskedMean()([x, length])
    gate = layers.Dense(channels // reduction, activation="relu", name=f"{name}_squeeze")(gate)
    gate = layers.Dense(channels, activation="sigmoid", name=f"{name}_excite")(gate)
    shape = (channels, 1, 1) if channel_axis() == 1 else (1, 1, channels)
    return layers.Multiply()([x, layers.Reshape(shape)(gate)])


def _conv(x, filters: int, kernel: int, strides, name: str):
    """Convolution without bias, padded alike on both sides whatever the length, then batch normalisation.

    Keras' own "same" pads a strided convolution by the input's parity, so that a clip's grid would move with the
    length of the batch it is in.
    """
    layer_name = name.replace("/", "__")
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    x = layers.Conv2D(filters, kernel, strides=strides, use_bias=False, name=layer_name)(x)
    return BatchNormalization(channel_axis(), epsilon=BATCH_NORM_EPSILON, name=f"{layer_name}__bn")(x)
