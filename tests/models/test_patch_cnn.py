"""Networks on patches against NumPy loops: outputs, gradients, an exact identity and a training run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.patches import RobustNonRobust, SignalNoise
from dynamics.descent import steepest
from dynamics.engine import hidden
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.patch_cnn import PatchCNN
from dynamics.observables.base import observable
from dynamics.parts import Axis, partition
from dynamics.problem import Problem

SAMPLES, PATCHES, DIM, WIDTH = 4, 3, 5, 2


def odd(q):
    return lambda z: np.sign(z) * abs(z) ** q, lambda z: q * abs(z) ** (q - 1)


def relu_power(q):
    return lambda z: max(z, 0) ** q, lambda z: q * max(z, 0) ** (q - 1) if z > 0 else 0.0


def smoothed(q, rho):
    def value(z):
        z = max(z, 0)
        return z**q / (q * rho ** (q - 1)) if z <= rho else z - (1 - 1 / q) * rho

    return value, lambda z: min(max(z, 0) / rho, 1) ** (q - 1)


# the activation, its value at a number and its derivative there
CASES = {
    "odd cube": (Activation("odd_power", power=3.0), *odd(3)),
    "odd 4": (Activation("odd_power", power=4.0), *odd(4)),
    "odd 1.5": (Activation("odd_power", power=1.5), *odd(1.5)),
    "relu_power 2": (Activation("relu_power", power=2.0), *relu_power(2)),
    "relu_power 2.5": (Activation("relu_power", power=2.5), *relu_power(2.5)),
    "relu": (Activation("relu"), *relu_power(1)),
    "smoothed_relu": (Activation("smoothed_relu", power=3.0, threshold=0.7), *smoothed(3, 0.7)),
}
KINDS = {
    "binary": {},
    "signed": {"signed": True},
    "bias": {"use_bias": True},
    "signed bias": {"signed": True, "use_bias": True},
    "classes": {"num_outputs": 3},
    "classes bias": {"num_outputs": 3, "use_bias": True},
}


def second_layer(model):
    """(output, sign) of every neuron."""
    if model.num_outputs > 1:
        return [(i, 1.0) for i in range(model.num_outputs) for _ in range(model.width)]
    return [(0, 1.0)] * model.width + [(0, -1.0)] * (model.width if model.signed else 0)


def network_by_hand(model, phi, params, x):
    """Outputs, of shape (samples, outputs), from one pre-activation at a time."""
    W, b = params["W"], params.get("b", np.zeros(len(params["W"])))
    f = np.zeros((len(x), model.num_outputs))
    for n, sample in enumerate(x):
        for patch in sample:
            for r, (output, sign) in enumerate(second_layer(model)):
                f[n, output] += sign * phi(sum(w * c for w, c in zip(W[r], patch, strict=True)) + b[r])
    return f


def gradient_by_hand(model, slope, params, x, weight):
    """Gradient of the sum of outputs times `weight` (samples, outputs)."""
    W, b = params["W"], params.get("b", np.zeros(len(params["W"])))
    grads = {name: np.zeros(value.shape) for name, value in params.items()}
    for n, sample in enumerate(x):
        for patch in sample:
            for r, (output, sign) in enumerate(second_layer(model)):
                pull = weight[n, output] * sign * slope(W[r] @ patch + b[r])
                grads["W"][r] += pull * patch
                if "b" in grads:
                    grads["b"][r] += pull
    return grads


def drawn(model, seed=0):
    x = np.random.default_rng(seed).normal(size=(SAMPLES, PATCHES, DIM))
    params = jax.jit(model.init)(jax.random.key(seed), jnp.asarray(x))["params"]
    return params, x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradient(case, kind):
    activation, phi, slope = CASES[case]
    model = PatchCNN(WIDTH, activation=activation, **KINDS[kind])
    params, x = drawn(model)
    plain = {name: np.asarray(value) for name, value in params.items()}

    outputs = jax.jit(model.apply)({"params": params}, jnp.asarray(x))
    expected = network_by_hand(model, phi, plain, x)
    shape = (SAMPLES,) if model.num_outputs == 1 else (SAMPLES, model.num_outputs)
    np.testing.assert_allclose(outputs, expected.reshape(shape), rtol=1e-12, atol=1e-12)

    weight = np.random.default_rng(1).normal(size=expected.shape)

    def total(params):
        return jnp.sum(model.apply({"params": params}, jnp.asarray(x)) * weight.reshape(shape))

    grads = jax.jit(jax.grad(total))(params)
    for name, value in gradient_by_hand(model, slope, plain, x, weight).items():
        np.testing.assert_allclose(grads[name], value, rtol=1e-11, atol=1e-11)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["signed bias", "classes bias"])
@pytest.mark.parametrize("case", ["odd 1.5", "smoothed_relu"])
def test_gradient_by_differences(case, kind):
    activation, phi, _ = CASES[case]
    model = PatchCNN(WIDTH, activation=activation, **KINDS[kind])
    params, x = drawn(model, 2)
    plain = {name: np.asarray(value) for name, value in params.items()}
    weight = np.random.default_rng(3).normal(size=(SAMPLES, model.num_outputs))
    shape = (SAMPLES,) if model.num_outputs == 1 else weight.shape
    grads = jax.grad(
        lambda p: jnp.sum(model.apply({"params": p}, jnp.asarray(x)) * weight.reshape(shape)),
    )(params)
    step = 1e-6  # central differences: error step^2 + 1e-16 / step
    for name, value in plain.items():
        for index in list(np.ndindex(*value.shape))[::3]:
            moved = np.zeros_like(value)
            moved[index] = step
            ends = [
                np.sum(network_by_hand(model, phi, plain | {name: value + sign * moved}, x) * weight)
                for sign in (1, -1)
            ]
            numeric = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(grads[name][index], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.exhaustive
def test_prelu_takes_the_norms_of_the_weights():
    model = PatchCNN(WIDTH, signed=True, activation=Activation("prelu", power=3.0))
    params, x = drawn(model)
    W = np.asarray(params["W"])
    hidden = (np.maximum(x @ W.T, 0) ** 3 / np.linalg.norm(W, axis=1) ** 2).sum(axis=1)
    expected = hidden[:, :WIDTH].sum(axis=1) - hidden[:, WIDTH:].sum(axis=1)
    np.testing.assert_allclose(model.apply({"params": params}, jnp.asarray(x)), expected, rtol=1e-12)
    silent = {"W": params["W"].at[0].set(0)}
    grads = jax.grad(lambda p: jnp.sum(model.apply({"params": p}, jnp.asarray(x))))(silent)
    assert np.isfinite(grads["W"]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["odd_power", "smoothed_relu", "prelu"])
def test_from_pre_activations(name, kind):
    model = PatchCNN(WIDTH, activation=Activation(name), **KINDS[kind])
    params, x = drawn(model)
    outputs = model.apply({"params": params}, jnp.asarray(x))
    z = jnp.asarray(x @ np.asarray(params["W"]).T + np.asarray(params.get("b", np.zeros(model.num_neurons))))
    norms = jnp.linalg.norm(params["W"], axis=1)
    np.testing.assert_allclose(model.from_pre_activations(params, z), outputs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.from_pre_activations({}, z, norms), outputs, rtol=1e-12, atol=1e-12)
    if name != "prelu":
        np.testing.assert_allclose(model.from_pre_activations({}, z), outputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters(kind):
    model = PatchCNN(WIDTH, **KINDS[kind])
    params, _ = drawn(model)
    neurons = {"binary": 2, "signed": 4, "bias": 2, "signed bias": 4}.get(kind, 6)
    shapes = {"W": (neurons, DIM)} | ({"b": (neurons,)} if model.use_bias else {})
    assert {name: leaf.shape for name, leaf in params.items()} == shapes
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype("float64")}
    assert model.num_neurons == neurons
    a = np.zeros((model.num_outputs, neurons))
    for r, (output, sign) in enumerate(second_layer(model)):
        a[output, r] = sign
    assert isinstance(model.initial_output, np.ndarray)
    np.testing.assert_array_equal(model.initial_output, a)


def test_initial_weights_are_standard_normal():
    params = jax.jit(PatchCNN(200, use_bias=True).init)(jax.random.key(1), jnp.zeros((1, 2, 50)))["params"]
    for leaf in params.values():
        values, count = np.asarray(leaf), leaf.size
        assert abs(values.mean()) < 5 / np.sqrt(count)
        assert abs(values.var() - 1) < 5 * np.sqrt(2 / count)


def test_patch_order_and_empty_patches_do_not_matter():
    model = PatchCNN(WIDTH, 3, activation=Activation("smoothed_relu"))
    params, x = drawn(model)
    outputs = model.apply({"params": params}, jnp.asarray(x))
    for same in (x[:, ::-1], np.concatenate([x, np.zeros((SAMPLES, 2, DIM))], axis=1)):
        np.testing.assert_allclose(model.apply({"params": params}, jnp.asarray(same)), outputs, rtol=1e-12)


def test_one_unit_patch_gives_the_neurons_themselves():
    """No factor 1/m, 1/P: the output on e_1 is the sum of the activated first coordinates."""
    model = PatchCNN(7, activation=Activation("odd_power", power=3.0))
    x = jnp.zeros((1, 4, DIM)).at[0, 2, 0].set(1.0)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(
        model.apply({"params": params}, x), [np.sum(np.asarray(params["W"])[:, 0] ** 3)], rtol=1e-12
    )


@pytest.mark.parametrize("power", [2.0, 2.5, 3.0, 4.0])
@pytest.mark.parametrize(
    "options", [{}, {"direction": "random", "signal_patch": "random", "labels": "random"}]
)
def test_margin_splits_into_signal_and_memory(power, options):
    r"""$y f(X) = \alpha^q U + V$ with U = sum_r phi(<w_r, w*>), V = y sum_r sum of phi over noise patches."""
    data = SignalNoise(30, 4, 12, 8, **options)
    model = PatchCNN(6, activation=Activation("odd_power", power=power))
    draw = data.sample(jax.random.key(3))
    params = jax.jit(model.init)(jax.random.key(4), draw.train.x)["params"]
    W, direction = np.asarray(params["W"]), np.asarray(draw.features)[0]
    phi = odd(power)[0]
    U = sum(phi(w @ direction) for w in W)
    for sample in (draw.train, draw.test):
        x, y = np.asarray(sample.x), np.asarray(sample.y)
        # the signal is taken out of every patch; what is left of the signal patch is 0 up to rounding
        noise = x - (x @ direction)[..., None] * direction
        V = np.array(
            [s * sum(phi(w @ p) for p in patches for w in W) for s, patches in zip(y, noise, strict=True)]
        )
        margins = y * np.asarray(model.apply({"params": params}, sample.x))
        np.testing.assert_allclose(margins, (30**0.249) ** power * U + V, rtol=1e-11, atol=1e-11)
        assert np.abs(V).max() > 0.01


@observable(("neuron", "dim"))
def first_layer(params, problem, draw):
    return params["W"]


def trained_by_hand(model, phi, slope, W, x, labels, rate, steps):
    """Weights at steps 0 .. steps of gradient descent on the mean logistic loss or cross-entropy."""
    path = [W]
    for _ in range(steps):
        f = network_by_hand(model, phi, {"W": W}, x)
        if model.num_outputs == 1:
            weight = -labels[:, None] / (1 + np.exp(labels[:, None] * f))
        else:
            weight = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True) - np.eye(model.num_outputs)[labels]
        W = W - rate * gradient_by_hand(model, slope, {"W": W}, x, weight / len(x))["W"]
        path.append(W)
    return np.array(path)


BINARY = Problem(
    SignalNoise(6, 3, 5, 4, signal_patch="random", noise=0.7),
    PatchCNN(3, activation=CASES["odd cube"][0]),
    init_scale=0.4,
)
SIGNED = Problem(
    SignalNoise(6, 3, 5, 4, direction="random"),
    PatchCNN(2, signed=True, activation=CASES["relu_power 2.5"][0]),
    init_scale=0.4,
)
MULTI_CLASS = Problem(
    RobustNonRobust(7, 3, 6, 4, num_robust=1, num_nonrobust=3, spread=0.3, shuffle=True),
    PatchCNN(2, 3, activation=CASES["smoothed_relu"][0]),
    "cross_entropy",
    init_scale=0.4,
)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("problem", "case"), [(BINARY, "odd cube"), (SIGNED, "relu_power 2.5"), (MULTI_CLASS, "smoothed_relu")]
)
def test_training_against_a_loop(problem, case):
    steps, rate = 8, 0.3
    _, phi, slope = CASES[case]
    ds = simulate(
        problem, steepest("l2", rate), steps=steps, observe={"W": first_layer}, when=range(steps), seeds=[5]
    )
    key = seed_key(5)
    sample = problem.sample(named_key(key, "data")).train
    W = np.asarray(problem.init(named_key(key, "init"))["W"])
    labels = np.asarray(sample.y if problem.model.num_outputs == 1 else sample.target)
    path = trained_by_hand(problem.model, phi, slope, W, np.asarray(sample.x), labels, rate, steps)
    assert np.abs(path[-1] - path[0]).max() > 0.01
    np.testing.assert_allclose(ds.W.sel(seed=5), path, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
        ({"num_outputs": 2, "signed": True}, "signed is for a single output, got num_outputs=2"),
    ],
)
def test_bad_values(untyped, fields, message):
    with pytest.raises(ValueError, match=message):
        PatchCNN(**{"width": 3} | fields)


def test_inputs_without_patches_are_refused(untyped):
    with pytest.raises(ValueError, match=r"shape \(samples, patches, dim\), got shape \(4, 5\)"):
        jax.jit(PatchCNN(2).init)(jax.random.key(0), jnp.zeros((4, 5)))


def test_a_counted_patch_stands_for_copies_of_itself():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 5)))
    counts = (1, 0, 3)
    copies = jnp.repeat(x, np.asarray(counts), axis=1)
    for given in KINDS.values():
        counted, plain = PatchCNN(2, **given, counts=counts), PatchCNN(2, **given)
        params = jax.jit(plain.init)(jax.random.key(0), copies)
        both = jax.jit(lambda p, c=counted, q=plain: (c.apply(p, x), q.apply(p, copies)))(params)
        np.testing.assert_allclose(*both, rtol=1e-13)


def test_another_number_of_copies_is_the_same_program():
    def problem(*counts):
        return Problem(SignalNoise(DIM, 2, SAMPLES), PatchCNN(2, counts=counts))

    one, two = (partition(problem(*counts))[1] for counts in ((1, 3), (0, 5)))
    assert one == two
    assert one != partition(problem(1, 3, 1))[1]
    hidden.refuse(problem=problem(1, Axis("copies", [3, 5])))
    with pytest.raises(ValueError, match=r"axis 'copies' at model.counts\[0\] would not be run"):
        hidden.refuse(model=PatchCNN(2, counts=(Axis("copies", [3, 5]),)))  # alone it is no part


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        PatchCNN(2, counts=(1, -1))
    with pytest.raises(ValueError, match="one for each of 3 patches"):
        jax.jit(PatchCNN(2, counts=(1, 2)).init)(jax.random.key(0), jnp.zeros((1, 3, 5)))
