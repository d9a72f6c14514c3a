"""Norms, dual norms and directions against plain NumPy, brute force and what each norm is invariant under."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.descent import norms

NAMES = (*norms.NAMES, "l1.5", "l3", "l1.1", "max-l1.5", "max-linf")
ENTRYWISE = tuple(name for name in NAMES if "spectral" not in name)
# a tall, a wide and a square matrix, one with a third axis, vectors with and without axes of length 1
SHAPES = [
    {"W": (5, 3), "a": (1, 5), "b": (5,)},
    {"A": (2, 4), "B": (2, 2, 3), "c": (3, 1), "d": ()},
    {"W": (3, 3)},
]
MATRIX = {"W": (4, 6)}


def tree_of(seed, shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) * 10 ** rng.uniform(-2, 2) for name, shape in shapes.items()}


TREE = st.builds(tree_of, st.integers(0, 2**32 - 1), st.sampled_from(SHAPES))


def inner(v, g):
    return sum(float(np.sum(np.asarray(a) * b)) for a, b in zip(v.values(), g.values(), strict=True))


def assert_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), dict(actual), dict(expected))


@functools.cache
def compiled(name):
    """Norm, dual norm and direction in one program for each tree of shapes."""
    return jax.jit(lambda tree: (norms.norm(tree, name), *norms.steepest(tree, name)[::-1]))


def exponents(name):
    """p and the dual q of an lp name."""
    p = float(name.removeprefix("max-").removeprefix("l"))
    return p, np.inf if p == 1 else 1 / (1 - 1 / p)


def by_numpy(tree, name):
    """Norm and dual norm, by np.linalg only."""
    if name[0] == "l":
        everything = np.concatenate([x.ravel() for x in tree.values()])
        return tuple(np.linalg.norm(everything, p) for p in exponents(name))
    own, dual = [], []
    for x in tree.values():
        if "spectral" not in name:
            p, q = exponents(name)
        elif sum(n > 1 for n in x.shape) > 1:
            values = np.linalg.svd(x.reshape(-1, x.shape[-1]), compute_uv=False)
            own.append(values.max())
            dual.append(values.sum())
            continue
        else:
            p, q = (np.inf, 1) if name == "spectral-linf" else (2, 2)
        own.append(np.linalg.norm(x.ravel(), p))
        dual.append(np.linalg.norm(x.ravel(), q))
    return max(own), sum(dual)


@pytest.mark.parametrize("name", NAMES)
@given(g=TREE)
@settings(max_examples=20)
def test_direction_attains_the_dual_norm(name, g):
    norm, dual, v = compiled(name)(g)
    expected, expected_dual = by_numpy(g, name)
    np.testing.assert_allclose(norm, expected, rtol=1e-13)
    np.testing.assert_allclose(dual, expected_dual, rtol=1e-13)
    np.testing.assert_allclose(inner(v, g), expected_dual, rtol=1e-13)
    np.testing.assert_allclose(by_numpy({k: np.asarray(x) for k, x in v.items()}, name)[0], 1, rtol=1e-13)
    assert {k: x.shape for k, x in v.items()} == {k: x.shape for k, x in g.items()}


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_steepest_are_the_dual_norm_and_the_direction(name):
    g = {"W": jnp.asarray(tree_of(1, MATRIX)["W"])}
    v, size = norms.steepest(g, name)
    assert float(norms.dual_norm(g, name)) == float(size)
    np.testing.assert_array_equal(norms.direction(g, name)["W"], v["W"])


@pytest.mark.parametrize("name", NAMES)
def test_no_vector_of_the_unit_ball_has_a_larger_inner_product(name):
    rng = np.random.default_rng(5)
    for seed, shapes in enumerate(SHAPES):
        g = tree_of(seed, shapes)
        _, dual, v = compiled(name)(g)
        for size in [0.0] + [1e-3, 0.1, 1.0] * 100:
            # far from the direction and near it, where a wrong one would be beaten
            u = {k: size * rng.normal(size=x.shape) + np.asarray(v[k]) for k, x in g.items()}
            assert inner(u, g) / by_numpy(u, name)[0] <= float(dual) * (1 + 1e-13)


@pytest.mark.parametrize("name", NAMES)
@given(g=TREE, other=st.integers(0, 1000), c=st.sampled_from([-1e6, -0.3, 0.0, 1e-3, 7.0]))
@settings(max_examples=15)
def test_norms_are_norms(name, g, other, c):
    h = tree_of(other, {k: x.shape for k, x in g.items()})
    norm, dual, _ = compiled(name)(g)
    more, more_dual, _ = compiled(name)(h)
    total, total_dual, _ = compiled(name)({k: g[k] + h[k] for k in g})
    assert total <= (norm + more) * (1 + 1e-13)
    assert total_dual <= (dual + more_dual) * (1 + 1e-13)
    scaled, scaled_dual, _ = compiled(name)({k: c * x for k, x in g.items()})
    np.testing.assert_allclose([scaled, scaled_dual], [abs(c) * norm, abs(c) * dual], rtol=1e-13)


def orthogonal(rng, size):
    q, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return q


@pytest.mark.parametrize("name", ["l2", "l1", "linf"])
def test_only_l2_is_invariant_under_rotations_of_all_parameters(name):
    rng = np.random.default_rng(0)
    x = np.eye(12)[3]
    norm, dual, v = compiled(name)({"x": x})
    q = orthogonal(rng, 12)
    rotated, rotated_dual, rotated_v = compiled(name)({"x": q @ x})
    if name == "l2":
        np.testing.assert_allclose([rotated, rotated_dual], [norm, dual], rtol=1e-14)
        np.testing.assert_allclose(rotated_v["x"], q @ np.asarray(v["x"]), atol=1e-14)
    else:
        assert abs(rotated / norm - 1) > 0.05
        assert abs(rotated_dual / dual - 1) > 0.05


def test_spectral_is_invariant_under_orthogonal_matrices_on_either_side_of_each_layer():
    rng = np.random.default_rng(1)
    g = tree_of(3, {"W": (4, 6), "V": (5, 4)})
    turns = {k: (orthogonal(rng, x.shape[0]), orthogonal(rng, x.shape[1])) for k, x in g.items()}

    def turned(tree):
        return {k: turns[k][0] @ np.asarray(x) @ turns[k][1] for k, x in tree.items()}

    norm, dual, v = compiled("spectral")(g)
    other, other_dual, other_v = compiled("spectral")(turned(g))
    np.testing.assert_allclose([other, other_dual], [norm, dual], rtol=1e-13)
    # U V' of a well-conditioned matrix
    assert_close(other_v, turned(v), atol=1e-13)


@pytest.mark.parametrize("name", ENTRYWISE)
def test_entrywise_norms_do_not_see_order_and_signs(name):
    rng = np.random.default_rng(2)
    g = tree_of(4, MATRIX)
    order, signs = rng.permutation(24), rng.choice([-1, 1], 24)

    def changed(tree):
        return {"W": (signs * np.asarray(tree["W"]).ravel())[order].reshape(4, 6)}

    norm, dual, v = compiled(name)(g)
    other, other_dual, other_v = compiled(name)(changed(g))
    np.testing.assert_allclose([other, other_dual], [norm, dual], rtol=1e-14)
    assert_close(other_v, changed(v), rtol=1e-13)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_spectral_direction_is_one_step_of_shampoo(shape):
    def inverse_root(gram):
        values, vectors = np.linalg.eigh(gram)  # 1 .. 16, and zeros outside of the range of a longer side
        return (vectors * np.where(values > 0.5, np.abs(values) ** -0.25, 0)) @ vectors.T

    rng, rank = np.random.default_rng(6), min(shape)
    u, v = orthogonal(rng, shape[0])[:, :rank], orthogonal(rng, shape[1])[:, :rank]
    g = (u * np.linspace(1, 4, rank)) @ v.T
    shampoo = inverse_root(g @ g.T) @ g @ inverse_root(g.T @ g)
    np.testing.assert_allclose(compiled("spectral")({"W": g})[2]["W"], shampoo, atol=1e-13)


def test_rank_deficient_matrices_leave_out_what_is_zero():
    rng = np.random.default_rng(7)
    u, v = orthogonal(rng, 5)[:, :2], orthogonal(rng, 4)[:, :2]
    g = (u * [3.0, 0.5]) @ v.T
    norm, dual, direction = compiled("spectral")({"W": g})
    np.testing.assert_allclose([norm, dual], [3, 3.5], rtol=1e-14)
    np.testing.assert_allclose(direction["W"], u @ v.T, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_zero_stays_zero(name):
    for g in ({"W": np.zeros((4, 6))}, {"W": np.zeros((5, 3)), "a": np.zeros((1, 5)), "b": np.zeros(5)}):
        norm, dual, v = compiled(name)(g)
        assert float(norm) == float(dual) == 0
        assert_close(v, g, rtol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if norms.parse(name).layered])
def test_layers_are_measured_one_by_one(name):
    """A layer of zeros stays zero, and a tiny layer beside a huge one moves as if it were alone."""
    g = tree_of(8, SHAPES[0])
    scales = {"W": 0.0, "a": 1e-200, "b": 1e50}
    v = compiled(name)({k: scales[k] * x for k, x in g.items()})[2]
    alone = compiled(name)(g)[2]
    assert_close(v, {k: x * (k != "W") for k, x in alone.items()}, rtol=1e-13)


@pytest.mark.parametrize("size", [1e-300, 1e300])
@pytest.mark.parametrize("name", NAMES)
def test_tiny_and_huge_entries(name, size):
    # entries of size 1, so that sums of 24 stay below the largest float
    g = tree_of(9, MATRIX)["W"]
    g = {"W": g / np.abs(g).max()}
    norm, dual, v = compiled(name)(g)
    far, far_dual, far_v = compiled(name)({"W": size * g["W"]})
    np.testing.assert_allclose([far / size, far_dual / size], [norm, dual], rtol=1e-13)
    assert_close(far_v, v, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32_and_does_not_underflow(name):
    g = tree_of(10, MATRIX)["W"]
    g = {"W": g / np.abs(g).max()}
    norm, dual, v = compiled(name)(g)
    far, far_dual, far_v = compiled(name)({"W": np.float32(1e-30) * g["W"].astype(np.float32)})
    assert {x.dtype for x in (far, far_dual, far_v["W"])} == {jnp.dtype("float32")}
    np.testing.assert_allclose([far / 1e-30, far_dual / 1e-30], [norm, dual], rtol=1e-5)
    assert_close(far_v, v, rtol=1e-4, atol=1e-5)


def test_shifts_are_exact():
    """Against NumPy, over every power of two between the smallest and the largest normal number."""
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        powers = np.arange(info.minexp - info.maxexp, info.maxexp - info.minexp)
        with np.errstate(over="ignore"):
            wanted = np.ldexp(dtype(1.375), powers)
        kept = np.isfinite(wanted) & (wanted >= info.tiny)
        found = norms.shifted(jnp.full(powers.shape, 1.375, dtype), jnp.asarray(powers))
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.asarray(found)[kept], wanted[kept])
        np.testing.assert_array_equal(
            norms.exponent(jnp.asarray(wanted[kept])[:, None], axis=1), powers[kept]
        )


def test_lengths_of_rows():
    """Of rows from the smallest to the largest normal number; NaN and inf stay, and 0 has derivative 0."""
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    for power in (-125, -70, 0, 70, 125):
        found = norms.lengths(jnp.asarray(2.0**power * rows, jnp.float32))
        np.testing.assert_array_equal(found, 2.0**power * np.array([5, 0, 1, np.nan, np.inf]))
    slope = jax.grad(lambda rows: jnp.sum(norms.lengths(rows)))(jnp.asarray(1e-25 * rows[:3], jnp.float32))
    np.testing.assert_allclose(slope, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)


def test_all_parameters_count_as_one_vector():
    tree = {"b": jnp.array([3.0]), "W": jnp.array([[0.0, -4.0]])}
    assert [float(norms.norm(tree, name)) for name in ("l1", "l2", "linf")] == [7, 5, 4]
    assert [float(norms.norm(tree, name)) for name in ("max-l1", "max-l2", "spectral")] == [4, 4, 4]


def test_ties_of_l1_go_to_the_lowest_index():
    np.testing.assert_array_equal(norms.direction(jnp.array([1.0, -2.0, 2.0, -2.0]), "l1"), [0, -1, 0, 0])
    # leaves in the order of jax.tree.leaves: W before b
    d = norms.direction({"b": jnp.array([2.0]), "W": jnp.array([1.0, -2.0])}, "l1")
    np.testing.assert_array_equal(d["W"], [0, -1])
    np.testing.assert_array_equal(d["b"], [0])


def test_sign_of_zero_is_zero():
    g = jnp.array([0.0, -0.0, 2.0, -1e-300])
    np.testing.assert_array_equal(norms.direction(g, "linf"), [0, 0, 1, -1])
    np.testing.assert_array_equal(norms.direction({"b": g}, "spectral-linf")["b"], [0, 0, 1, -1])


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_newton_schulz_brings_singular_values_near_one_and_keeps_the_singular_vectors(shape):
    rng = np.random.default_rng(11)
    u, v = orthogonal(rng, shape[0])[:, :4], orthogonal(rng, shape[1])[:, :4]
    for scale in (1e-200, 1.0, 1e200):
        x = np.asarray(norms.newton_schulz(jnp.asarray(scale * (u * [4.0, 3.0, 2.0, 1.0]) @ v.T), 5))
        core = u.T @ x @ v
        values = np.diag(core)
        assert ((values >= 0.6) & (values <= 1.3)).all()
        # the singular vectors are the matrix's: nothing off the diagonal, and nothing outside
        np.testing.assert_allclose(core, np.diag(values), atol=1e-12)
        np.testing.assert_allclose((u * values) @ v.T, x, atol=1e-12)
    np.testing.assert_array_equal(norms.newton_schulz(jnp.zeros(shape), 5), np.zeros(shape))


def test_newton_schulz_is_its_quintic_iteration():
    values = np.array([4.0, 3.0, 2.0, 1.0])
    x = values / np.linalg.norm(values)
    for _ in range(3):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    np.testing.assert_allclose(np.diag(norms.newton_schulz(jnp.diag(values), 3)), x, rtol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_loops(name):
    trees = [tree_of(seed, SHAPES[0]) for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    many = jax.jit(jax.vmap(compiled(name)))(batch)
    for i, tree in enumerate(trees):
        one = compiled(name)(tree)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-12, atol=1e-13), many, one)


def test_layers_as_matrices():
    shapes = {(): False, (5,): False, (1, 5): False, (5, 1, 1): False, (2, 3): True, (2, 1, 3): True}
    assert {shape: norms.is_matrix(jnp.zeros(shape)) for shape in shapes} == shapes
    assert norms.as_matrix(jnp.zeros(5)).shape == (1, 5)
    assert norms.as_matrix(jnp.zeros((2, 3, 4))).shape == (6, 4)


def test_exponents_may_be_written_in_several_ways():
    assert norms.parse("l1") == norms.parse("l1.0") == (False, 1, 1)
    assert norms.parse("max-l2.50") == (True, 2.5, 2.5)


@pytest.mark.parametrize(
    "name",
    ["", "l", "l0", "l0.5", "l-1", "L2", "l1e3", "linfinity", "2", "max-spectral", "max", "l2 ", "nuclear"],
)
def test_unknown_norms_are_refused(name):
    for use in (norms.norm, norms.dual_norm, norms.direction, norms.steepest):
        with pytest.raises(ValueError, match="norm must be l1, l2, linf or another lp") as caught:
            use({"W": jnp.ones(2)}, name)
        assert repr(name) in str(caught.value)
        assert "\n" not in str(caught.value)
