"""The GhostVLAD family of networks in Keras 3 (`keras.ops` only, so that every Keras backend runs it).

Xie et al., *Utterance-level Aggregation for Speaker Recognition in the Wild*, ICASSP 2019 (arXiv 1902.10107); ghost
clusters: Zhong et al., *GhostVLAD for Set-based Face Recognition*, ACCV 2018 (arXiv 1810.09951).

A member is a frozen `NetworkConfig`. Its network maps spectrograms `(B, bins, T, 1)` and the number of valid frames in
each, `(B,)` int32, to unit vectors `(B, embedding_size)`. Frames past a row's length never reach its vector: the time
mask is carried through every convolution, squeeze and pooling, so a clip has the same vector alone and in a batch.
For batches of one length there is the same network without masks, which cost a residual trunk a tenth to a fifth of
its time.
"""

from __future__ import annotations

import keras
from keras import layers

from speaker_tasks.embedding.aggregation import GhostVLAD, Statistics
from speaker_tasks.embedding.dense_trunk import dense_tail, dense_trunk
from speaker_tasks.embedding.masks import channel_axis, mask
from speaker_tasks.embedding.members import DenseTrunk, NetworkConfig, ResidualTrunk
from speaker_tasks.embedding.residual_trunk import residual_trunk

FRAMES = "trunk_frames"
"""The layer that gives the frames of a dense trunk."""


def build(config: NetworkConfig, *, masked: bool = True) -> keras.Model:
    """Build the network of `config` with fresh weights; `weights.load` gives it trained ones.

    Without masks it takes spectrograms alone, all of their frames valid. Keras may also be set to channels first, but
    for a masked residual trunk: spectrograms are `(B, 1, bins, T)`, the variables are the same.
    """
    shape = (1, config.bins, None) if channel_axis() == 1 else (config.bins, None, 1)
    spectrogram = keras.Input(shape, name="spectrogram")
    frames = keras.Input((), dtype="int32", name="frames") if masked else None
    inputs = [spectrogram, frames] if masked else spectrogram
    if isinstance(config.trunk, ResidualTrunk):
        x, length = residual_trunk(config.trunk, mask(spectrogram, frames), frames)
        x = _map_to_vector(config, x, length)
    else:
        x, length = dense_trunk(config.trunk, mask(spectrogram, frames), frames)
        x = _frames_to_vector(config, _as_frames(x), length)
    return keras.Model(inputs, x, name=config.name)


def build_tail(config: NetworkConfig, channels: int) -> keras.Model:
    """The last dense block and the head alone, what training changes: maps of one row and `channels` to unit vectors.

    All frames are valid. The variables have the names that they have in the whole network.
    """
    assert isinstance(config.trunk, DenseTrunk)
    given = keras.Input((channels, 1, None) if channel_axis() == 1 else (1, None, channels), name="before_last_block")
    x = _frames_to_vector(config, _as_frames(dense_tail(config.trunk, given)), None)
    return keras.Model(given, x, name=config.name)


def split(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """A network with a dense trunk, without masks, as two that share its variables.

    They are the trunk, spectrograms to frames `(B, ceil(T / 2), channels)`, and the head, frames to unit vectors.
    """
    between = network.get_layer(FRAMES).output
    return keras.Model(network.input, between), keras.Model(between, network.output)


def _map_to_vector(config: NetworkConfig, x, length):
    rows = x.shape[2 if channel_axis() == 1 else 1]
    descriptors = layers.Conv2D(config.descriptor_size, (rows, 1), activation="relu", name="x_fc")(x)
    scores = layers.Conv2D(config.clusters + config.ghosts, (rows, 1), name="gvlad_center_assignment")(x)
    if channel_axis() == 1:
        descriptors, scores = layers.Permute((2, 3, 1))(descriptors), layers.Permute((2, 3, 1))(scores)
    lengths = [] if length is None else [length]
    x = GhostVLAD(config.clusters, config.ghosts, name="gvlad_pool")([descriptors, scores, *lengths])
    activation = "relu" if config.relu_embedding else None
    x = layers.Dense(config.embedding_size, activation=activation, name="fc6", dtype="float32")(x)
    return layers.UnitNormalization(name="embedding", dtype="float32")(x)


def _as_frames(x):
    """A map of one row as `(B, T, C)`."""
    if channel_axis() == 1:
        x = layers.Permute((2, 3, 1))(x)
    return layers.Reshape((-1, x.shape[-1]), name=FRAMES)(x)


def _frames_to_vector(config: NetworkConfig, x, length):
    lengths = [] if length is None else [length]
    descriptors = layers.Dense(config.descriptor_size, activation="relu", name="x_fc", dtype="float32")(x)
    scores = layers.Dense(config.clusters + config.ghosts, name="gvlad_center_assignment", dtype="float32")(x)
    pooled = GhostVLAD(config.clusters, config.ghosts, name="gvlad_pool")([descriptors, scores, *lengths])
    if config.statistics:
        pooled = layers.Concatenate(dtype="float32")([Statistics(name="statistics")([x, *lengths]), pooled])
    x = layers.Dense(config.inner_size or config.embedding_size, name="fc6", dtype="float32")(pooled)
    if config.inner_size:
        x = layers.Dense(config.embedding_size, use_bias=False, name="isometry", dtype="float32")(x)
    return layers.UnitNormalization(name="embedding", dtype="float32")(x)
