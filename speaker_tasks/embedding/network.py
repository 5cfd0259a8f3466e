"""The GhostVLAD family of networks in Keras 3 (`keras.ops` only, so that every Keras backend runs it).

Xie et al., *Utterance-level Aggregation for Speaker Recognition in the Wild*, ICASSP 2019 (arXiv 1902.10107); ghost
clusters: Zhong et al., *GhostVLAD for Set-based Face Recognition*, ACCV 2018 (arXiv 1810.09951).

A member is a frozen `NetworkConfig`. Its network maps spectrograms `(B, bins, T, 1)` and the number of valid frames in
each, `(B,)` int32, to unit vectors `(B, embedding_size)`. Frames past a row's length never reach its vector: the time
mask is carried through every convolution, squeeze and pooling, so a clip has the same vector alone and in a batch.
For batches of one length there is the same network without masks, which cost a tenth to a fifth of its time.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from speaker_tasks.embedding.members import COMPACT, CONFIGS, VGG, NetworkConfig, Stage

__all__ = ["COMPACT", "CONFIGS", "VGG", "NetworkConfig", "Stage", "build"]

BATCH_NORM_EPSILON = 1e-3


def build(config: NetworkConfig, *, masked: bool = True) -> keras.Model:
    """Build the network of `config` with fresh weights; `weights.load` gives it trained ones.

    Without masks it takes spectrograms alone, all of their frames valid; then Keras may also be set to channels first:
    spectrograms are `(B, 1, bins, T)`, the variables are the same.
    """
    first = _channel_axis() == 1
    spectrogram = keras.Input((1, config.bins, None) if first else (config.bins, None, 1), name="spectrogram")
    frames = keras.Input((), dtype="int32", name="frames") if masked else None
    x, length = _stem(_mask(spectrogram, frames), frames, config)
    block = _bottleneck if config.bottleneck else _basic
    for number, stage in enumerate(config.stages, start=2):
        for index in range(stage.blocks):
            strides = stage.strides if index == 0 else (1, 1)
            x, length = block(x, length, stage, strides, f"conv{number}_{chr(ord('a') + index)}", first=index == 0)
    if config.final_pool:
        x = layers.MaxPooling2D((3, 1), strides=(2, 1), name="mpool2")(x)
    rows = x.shape[2 if first else 1]
    descriptors = layers.Conv2D(config.descriptor_size, (rows, 1), activation="relu", name="x_fc")(x)
    scores = layers.Conv2D(config.clusters + config.ghosts, (rows, 1), name="gvlad_center_assignment")(x)
    if first:
        descriptors, scores = layers.Permute((2, 3, 1))(descriptors), layers.Permute((2, 3, 1))(scores)
    x = GhostVLAD(config.clusters, config.ghosts, name="gvlad_pool")(
        [descriptors, scores, length] if masked else [descriptors, scores]
    )
    activation = "relu" if config.relu_embedding else None
    x = layers.Dense(config.embedding_size, activation=activation, name="fc6", dtype="float32")(x)
    x = layers.UnitNormalization(name="embedding", dtype="float32")(x)
    return keras.Model([spectrogram, frames] if masked else spectrogram, x, name=config.name)


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
class TimeMask(layers.Layer):
    """Zero every column of `(B, F, T, C)` past its row's number of valid frames."""

    def call(self, inputs):
        x, length = inputs
        valid = ops.arange(ops.shape(x)[2])[None, :] < length[:, None]
        return x * ops.cast(valid, x.dtype)[:, None, :, None]

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


@keras.saving.register_keras_serializable("speaker_tasks")
class MaskedMean(layers.Layer):
    """Mean over frequency and valid time of `(B, F, T, C)`: `(B, C)`."""

    def call(self, inputs):
        x, length = inputs
        count = ops.cast(length * x.shape[1], "float32")
        return ops.cast(ops.sum(ops.cast(x, "float32"), axis=(1, 2)) / count[:, None], x.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], input_shape[0][-1])


@keras.saving.register_keras_serializable("speaker_tasks")
class GhostVLAD(layers.Layer):
    """Soft-assign each frame to clusters, sum the residuals, drop the ghosts, L2 per cluster: `(B, clusters * D)`.

    The inputs are descriptors `(B, 1, T, D)`, scores `(B, 1, T, clusters + ghosts)` and, if masked, lengths `(B,)`.
    """

    def __init__(self, clusters: int, ghosts: int, **kwargs) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.clusters, self.ghosts = clusters, ghosts

    def build(self, input_shape):
        size = input_shape[0][-1]
        self.centers = self.add_weight(
            shape=(self.clusters + self.ghosts, size), initializer="orthogonal", name="centers"
        )

    def call(self, inputs):
        descriptors, scores = ops.squeeze(inputs[0], 1), ops.squeeze(inputs[1], 1)
        assignment = ops.softmax(scores, axis=-1)
        if len(inputs) > 2:
            valid = ops.arange(ops.shape(scores)[1])[None, :] < inputs[2][:, None]
            assignment = assignment * ops.cast(valid, scores.dtype)[:, :, None]
        summed = ops.matmul(ops.transpose(assignment, (0, 2, 1)), descriptors)
        residual = summed - ops.sum(assignment, axis=1)[:, :, None] * self.centers[None]
        kept = residual[:, : self.clusters]
        norm = ops.sqrt(ops.maximum(ops.sum(ops.square(kept), axis=-1, keepdims=True), 1e-12))
        return ops.reshape(kept / norm, (-1, self.clusters * descriptors.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.clusters * input_shape[0][-1])

    def get_config(self):
        return {**super().get_config(), "clusters": self.clusters, "ghosts": self.ghosts}


def _stem(x, length, config: NetworkConfig):
    if config.stem_pool:
        x = _conv(x, config.stem_filters, config.stem_kernel, config.stem_strides, "conv1_1/3x3_s1")
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D((2, 2), strides=(2, 2))(x)
        length = _after(length, 2, round_up=False)
    else:
        x = _conv(x, config.stem_filters, config.stem_kernel, config.stem_strides, "conv1")
        x = layers.ReLU()(x)
        length = _after(length, config.stem_strides[1])
    return _mask(x, length), length


def _bottleneck(x, length, stage: Stage, strides, name: str, *, first: bool):
    reduce, middle, increase = stage.filters
    shortcut = _conv(x, increase, 1, strides, f"{name}_1x1_proj") if first else x
    length = _after(length, strides[1])
    x = layers.ReLU()(_conv(x, reduce, 1, strides, f"{name}_1x1_reduce"))
    x = _mask(x, length)
    x = layers.ReLU()(_conv(x, middle, 3, (1, 1), f"{name}_3x3"))
    x = _conv(x, increase, 1, (1, 1), f"{name}_1x1_increase")
    return layers.ReLU()(layers.Add()([x, shortcut])), length


def _basic(x, length, stage: Stage, strides, name: str, *, first: bool):
    (filters,) = stage.filters
    changes = first and (strides != (1, 1) or x.shape[_channel_axis()] != filters)
    shortcut = _conv(x, filters, 1, strides, f"{name}_proj") if changes else x
    length = _after(length, strides[1])
    x = layers.ReLU()(_conv(x, filters, 3, strides, f"{name}_3x3_1"))
    x = _mask(x, length)
    x = _conv(x, filters, 3, (1, 1), f"{name}_3x3_2")
    if stage.squeeze:
        x = _squeeze_and_excite(_mask(x, length), length, stage.squeeze, name)
    x = layers.ReLU()(layers.Add()([x, shortcut]))
    return _mask(x, length), length


def _squeeze_and_excite(x, length, reduction: int, name: str):
    """Hu et al., *Squeeze-and-Excitation Networks* (arXiv 1709.01507), with a masked mean."""
    channels = x.shape[_channel_axis()]
    gate = layers.GlobalAveragePooling2D()(x) if length is None else MaskedMean()([x, length])
    gate = layers.Dense(channels // reduction, activation="relu", name=f"{name}_squeeze")(gate)
    gate = layers.Dense(channels, activation="sigmoid", name=f"{name}_excite")(gate)
    shape = (channels, 1, 1) if _channel_axis() == 1 else (1, 1, channels)
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
    return BatchNormalization(_channel_axis(), epsilon=BATCH_NORM_EPSILON, name=f"{layer_name}__bn")(x)


def _channel_axis() -> int:
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def _after(length, stride: int, *, round_up: bool = True):
    """Lengths after a stride; None, where all frames are valid, stays None."""
    return length if length is None or stride == 1 else StridedLength(stride, round_up=round_up)(length)


def _mask(x, length):
    return x if length is None else TimeMask()([x, length])
