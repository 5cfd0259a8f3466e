"""From a row of frames to one vector: GhostVLAD, and mean and deviation."""

from __future__ import annotations

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("speaker_tasks")
class GhostVLAD(layers.Layer):
    """Soft-assign each frame to clusters, sum the residuals, drop the ghosts, L2 per cluster: `(B, clusters * D)`.

    The inputs are descriptors `(B, 1, T, D)` or `(B, T, D)`, scores with `clusters + ghosts` in place of D, and, if
    masked, lengths `(B,)`.
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
        descriptors, scores = (ops.squeeze(x, 1) if len(x.shape) == 4 else x for x in inputs[:2])
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


@keras.saving.register_keras_serializable("speaker_tasks")
class Statistics(layers.Layer):
    """Mean and unbiased standard deviation over the valid frames of `(B, T, D)`: `(B, 2 D)`.

    The inputs are the frames and, if masked, lengths `(B,)`. A single frame deviates by `LEAST`.
    """

    LEAST = 1e-6

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, inputs):
        x = inputs[0]
        valid = ops.ones_like(x[:, :, :1])
        if len(inputs) > 1:
            valid = valid * ops.cast(ops.arange(ops.shape(x)[1])[None, :] < inputs[1][:, None], x.dtype)[:, :, None]
        count = ops.sum(valid, axis=1)
        mean = ops.sum(x * valid, axis=1) / count
        squares = ops.sum(ops.square(x - mean[:, None]) * valid, axis=1)
        variance = squares / ops.maximum(count - 1.0, 1.0)
        return ops.concatenate([mean, ops.sqrt(ops.maximum(variance, self.LEAST**2))], axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], 2 * input_shape[0][-1])
