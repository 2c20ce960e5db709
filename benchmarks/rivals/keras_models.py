"""The founding question's two models as its author wrote them: Keras 3, here on torch."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "torch"  # read once, when keras is imported

import keras
import numpy as np
import torch
from keras import layers

from tsdiag.data.windows import Windows


def founding_transformer(windows: Windows, dropout: float) -> keras.Model:
    """Return the stalled transformer (Data Science Stack Exchange 124488)."""
    inputs = keras.Input((windows.context_length, windows.n_channels))
    stream = inputs
    for _ in range(8):
        stream = _encoder(stream, head_size=512, num_heads=6, ff_dim=8, dropout=dropout)
    pooled = layers.GlobalAveragePooling1D(data_format="channels_first")(stream)
    hidden = layers.Dropout(0.2)(layers.Dense(256, activation="elu")(pooled))
    return _compiled(keras.Model(inputs, layers.Dense(1)(hidden)))


def _encoder(
    inputs: keras.KerasTensor, head_size: int, num_heads: int, ff_dim: int, dropout: float
) -> keras.KerasTensor:
    x = layers.LayerNormalization(epsilon=1e-6)(inputs)
    x = layers.MultiHeadAttention(key_dim=head_size, num_heads=num_heads, dropout=dropout)(x, x)
    res = layers.Dropout(dropout)(x) + inputs
    x = layers.LayerNormalization(epsilon=1e-6)(res)
    x = layers.Conv1D(filters=ff_dim, kernel_size=1, activation="elu")(x)
    x = layers.Dropout(dropout)(x)
    return layers.Conv1D(filters=inputs.shape[-1], kernel_size=1)(x) + res


def founding_lstm(windows: Windows) -> keras.Model:
    """Return the CNN/BiLSTM that the transformer was to replace, with tsdiag's fillings of gaps."""
    model = keras.Sequential([keras.Input((windows.context_length, windows.n_channels))])
    for filters in (128, 256):
        model.add(layers.Conv1D(filters, 3, activation="relu"))
    model.add(layers.BatchNormalization())
    for units, sequences in ((256, True), (128, True), (64, False)):
        model.add(layers.Bidirectional(layers.LSTM(units, return_sequences=sequences)))
        model.add(layers.Dropout(0.3))
    penalty = keras.regularizers.L1L2(1e-5, 1e-4)
    model.add(layers.Dense(64, activation="elu", kernel_regularizer=penalty))
    model.add(layers.BatchNormalization())
    model.add(layers.Dense(1))
    return _compiled(model)


def _compiled(model: keras.Model) -> keras.Model:
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return model


def keras_fit(model: keras.Model, windows: Windows, batch_size: int) -> Callable[[int], None]:
    """Return what trains for so many steps by ``model.fit``, on windows held in memory."""
    inputs, targets = _arrays(windows)

    def train(steps: int) -> None:
        count = steps * batch_size
        model.fit(inputs[:count], targets[:count], batch_size=batch_size, verbose=0)

    return train


def keras_batches(model: keras.Model, windows: Windows, batch_size: int) -> Callable[[int], None]:
    """Return what trains for so many steps by ``model.train_on_batch``."""
    inputs, targets = _arrays(windows)

    def train(steps: int) -> None:
        for step in range(steps):
            chosen = slice(step * batch_size, (step + 1) * batch_size)
            model.train_on_batch(inputs[chosen], targets[chosen])

    return train


def _arrays(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = windows.batch(torch.arange(1024))
    return inputs.numpy(), targets.flatten(1).numpy()
