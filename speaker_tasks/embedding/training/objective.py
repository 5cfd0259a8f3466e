"""What the network learns from: the teacher's vectors, the teacher's similarities, and an angular margin over speakers.

- Vectors: cosine between our vector and the teacher's, carried into our space by a fixed random isometry. A learned
  map was tried: directions that it ignores then stay in our cosines as noise.
- Similarities: squared error between our batch's cosine matrix and the teacher's (Tung and Mori, arXiv 1907.09682).
- Margin: additive angular margin soft-max (Deng et al., arXiv 1801.07698) over speakers with two clips or more, whose
  class vectors are the teacher's mean vectors and stay so. Learned ones were tried: with few clips a class, Adam's
  steps of equal size wipe them out faster than they learn.

With the isometry, all three speak of the same cosines, which are those that the service compares.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from speaker_tasks.embedding.training.recipe import Recipe
from speaker_tasks.embedding.training.teacher import isometry


@keras.saving.register_keras_serializable("speaker_tasks")
class Distillation(keras.Model):
    """The network, without masks, and its training heads. Inputs: spectrograms; targets: `label`, `teacher`."""

    def __init__(self, network: keras.Model, recipe: Recipe, class_vectors: np.ndarray, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        self._recipe = recipe
        carry = isometry(network.output_shape[-1], class_vectors.shape[1], seed)
        self.from_teacher = self._fixed("from_teacher", carry.T)
        self.class_vectors = self._fixed("class_vectors", class_vectors @ carry.T)
        self.margin = self.add_weight(shape=(), initializer="zeros", trainable=False, name="margin", dtype="float32")
        names = ("teacher_cosine", "similarity_error", "margin_loss")
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def fixed(self) -> tuple[keras.Variable, keras.Variable]:
        """What follows from recipe and corpus, and is never learned."""
        return self.from_teacher, self.class_vectors

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        teacher = ops.matmul(y["teacher"], self.from_teacher)
        cosine = ops.mean(ops.sum(y_pred * teacher, axis=-1))
        similarity = self._similarity_error(y_pred, y["teacher"])
        margin = self._margin_loss(y_pred, y["label"])
        for name, value in zip(self._trackers, (cosine, similarity, margin), strict=True):
            self._trackers[name].update_state(value)
        recipe = self._recipe
        return (
            recipe.teacher_weight * (1.0 - cosine)
            + recipe.similarity_weight * similarity
            + recipe.margin_weight * margin
        )

    def _similarity_error(self, embeddings, teacher):
        ours = ops.matmul(embeddings, ops.transpose(embeddings))
        theirs = ops.matmul(teacher, ops.transpose(teacher))
        size = ops.cast(ops.shape(ours)[0], "float32")
        return ops.sum(ops.square(ours - theirs)) / (size * (size - 1.0))

    def _fixed(self, name: str, value: np.ndarray):
        return self.add_weight(
            shape=value.shape, initializer=_constant(value), trainable=False, name=name, dtype="float32"
        )

    def _margin_loss(self, embeddings, label):
        """Mean over the rows that have a class; `label` -1 has none."""
        labelled = ops.cast(label >= 0, "float32")
        one_hot = ops.one_hot(ops.maximum(label, 0), self.class_vectors.shape[0], dtype="float32")
        cosines = ops.matmul(embeddings, ops.transpose(self.class_vectors))
        cosine = ops.clip(ops.sum(cosines * one_hot, axis=-1), -1.0 + 1e-6, 1.0 - 1e-6)
        sine = ops.sqrt(1.0 - ops.square(cosine))
        with_margin = cosine * ops.cos(self.margin) - sine * ops.sin(self.margin)
        logits = self._recipe.scale * (cosines + one_hot * (with_margin - cosine)[:, None])
        losses = ops.logsumexp(logits, axis=-1) - ops.sum(logits * one_hot, axis=-1)
        return ops.sum(losses * labelled) / ops.maximum(ops.sum(labelled), 1.0)


def _constant(value: np.ndarray):
    return lambda shape, dtype: ops.convert_to_tensor(value, dtype)
