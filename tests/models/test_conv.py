"""The small convolutional network against convolutions by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from dynamics.models.conv import SmallCNN


def test_against_scipy():
    model = SmallCNN((2, 3), 4, 2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64)))
    params = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), x)["params"])
    rows = []
    for image in np.asarray(x).reshape(2, 8, 8, 1):
        h = image
        for layer in ("Conv_0", "Conv_1"):
            kernel, bias = params[layer]["kernel"], params[layer]["bias"]
            planes = [
                sum(correlate2d(h[:, :, i], kernel[:, :, i, o], "same") for i in range(h.shape[2])) + bias[o]
                for o in range(kernel.shape[3])
            ]
            h = np.maximum(np.stack(planes, axis=2), 0)
            h = h.reshape(h.shape[0] // 2, 2, h.shape[1] // 2, 2, -1).mean(axis=(1, 3))
        hidden = np.maximum(h.ravel() @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
        rows.append(hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"])
    np.testing.assert_allclose(model.apply({"params": params}, x), rows, rtol=1e-10)


def test_only_square_images():
    with pytest.raises(ValueError, match="square images, got 10 pixels"):
        jax.jit(SmallCNN().init)(jax.random.key(0), jnp.ones((1, 10)))
