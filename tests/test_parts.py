"""Parts: what is traced, what is compiled in, and how a part is described."""

import inspect
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics import descent, models, observables
from dynamics.parts import Axis, as_one, bind, describe, is_number, merge, part, partition, static, word

made = []


@part
class Spring:
    """A part for these tests."""

    size: int = static()
    stiffness: Any = 1.0
    name: str = static("spring")
    inner: Any = None

    def __post_init__(self):
        made.append(self.stiffness)
        if np.any(self.stiffness < 0):
            raise ValueError("stiffness must be at least 0")


def test_numbers_are_leaves_and_static_fields_are_not():
    spring = Spring(3, 2.5, "a", Spring(2, 7.0))
    assert jax.tree.leaves(spring) == [2.5, 7.0]
    doubled = jax.tree.map(lambda x: 2 * x, spring)
    assert (doubled.size, doubled.stiffness, doubled.name, doubled.inner.stiffness) == (3, 5.0, "a", 14.0)


def test_new_numbers_are_traced_and_new_statics_recompile():
    @jax.jit
    def energy(spring):
        return spring.stiffness * jnp.ones(spring.size)

    for stiffness in (1.0, 2.0):
        np.testing.assert_array_equal(energy(Spring(3, stiffness)), [stiffness] * 3)
    assert energy._cache_size() == 1
    assert energy(Spring(4, 1.0)).shape == (4,)
    assert energy._cache_size() == 2


def test_the_check_runs_for_people_only():
    with pytest.raises(ValueError, match="stiffness"):
        Spring(1, -1.0)
    spring = Spring(1, 1.0)
    count = len(made)
    jax.jit(lambda s: s.stiffness)(spring)
    assert jax.tree.map(lambda x: -x, spring).stiffness == -1.0
    assert len(made) == count


def test_a_part_is_frozen():
    with pytest.raises(AttributeError):
        Spring(1).stiffness = 2.0


def test_paths_name_the_fields():
    (path, _), *_ = jax.tree_util.tree_leaves_with_path(Spring(1, 2.0))
    assert jax.tree_util.keystr(path) == ".stiffness"


@pytest.mark.parametrize("value", [1, 2.5, np.float32(1), np.int64(3), np.ones(2), jnp.ones(2)])
def test_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [True, np.bool_(True), "1", None, [1.0], Axis("a", [1.0])])
def test_what_is_not_a_number(value):
    assert not is_number(value)


LEAF = st.one_of(
    st.integers(-9, 9), st.floats(-9, 9), st.booleans(), st.text(max_size=3), st.just("<number>")
)
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner)
)


@given(tree=TREE)
def test_merge_undoes_partition(tree):
    numbers, rest = partition(tree)
    assert merge(numbers, rest) == tree
    assert all(is_number(n) for n in numbers)
    hash(rest)


def test_partition_depends_on_numbers_by_their_place_only():
    _, one = partition((Spring(2, 1.0), {"f": len, "axis": 3.0}))
    numbers, other = partition((Spring(2, 4), {"f": len, "axis": Axis("a", [1.0, 2.0])}))
    assert one == other
    assert hash(one) == hash(other)
    assert sorted(type(n).__name__ for n in numbers) == ["Axis", "int"]
    for different in ((Spring(3, 1.0), {"f": len, "axis": 3.0}), (Spring(2, 1.0), {"f": max, "axis": 3.0})):
        assert partition(different)[1] != one


def test_axis(untyped):
    axis = Axis("noise", [0, 1, 2])
    assert axis.values.dtype == float
    assert repr(axis) == "Axis('noise', [0.0, 1.0, 2.0])"
    for bad in ([], [[1.0, 2.0]], 3.0):
        with pytest.raises(ValueError, match="axis 'noise' needs a list of at least one number"):
            Axis("noise", bad)
    with pytest.raises(ValueError, match=r"could not convert|needs a list"):
        Axis("noise", ["a"])


def test_bind_calls_the_function_with_its_arguments():
    def f(x, power, scale, shift, name):
        return (x**power * scale + shift, name)

    bound = bind(f, power=2, scale=3.0, shift=np.array([1.0]), name="n")
    assert bound(2) == (np.array([13.0]), "n")
    assert set(bound.numbers) == {"scale", "shift"}
    assert dict(bound.constants) == {"power": 2, "name": "n"}
    hash(partition(bound)[1])


def test_bind_traces_parts_and_axes():
    bound = bind(lambda spring, rate: 0, spring=Spring(2, 5.0), rate=Axis("rate", [1.0]))
    numbers, _ = partition(bound)
    assert 5.0 in numbers
    assert any(isinstance(n, Axis) for n in numbers)


def test_bind_makes_lists_hashable():
    bound = bind(lambda classes: classes, classes=[1, 2])
    assert bound() == (1, 2)
    hash(partition(bound)[1])


def test_description_is_json_and_tells_numbers_apart():
    big = np.arange(100.0)
    values = {
        "spring": Spring(2, np.float32(0.5), "x", Axis("k", [1.0, 2.0])),
        "small": np.arange(3),
        "big": big,
        "device": jnp.arange(3),
        "norm": np.linalg.norm,
        "tuple": (1, None, True, "s", np.int32(4)),
    }
    back = json.loads(json.dumps(describe(values)))
    assert back["spring"]["part"].endswith("Spring")
    about = {"size": 2, "stiffness": {"array": "float32[]", "entries": 0.5}, "name": "x"}
    assert {name: back["spring"][name] for name in about} == about
    assert back["spring"]["inner"]["values"]["entries"] == [1.0, 2.0]
    assert back["small"] == back["device"] == {"array": "int64[3]", "entries": [0, 1, 2]}
    assert back["tuple"] == [1, None, True, "s", {"array": "int32[]", "entries": 4}]
    assert back["norm"] == {"function": "numpy.linalg.norm"}
    assert back["big"]["array"] == "float64[100]"
    assert describe(big) == describe(big.copy())
    assert describe(big) != describe(big + 1e-16 * (big == 0))
    assert describe(Spring(2, 1.0)) != describe(Spring(2, 1.5))
    assert describe(Spring(2, name="a")) != describe(Spring(2, name="b"))


class Rate:
    """A callable whose state may change; all of them say that they are equal."""

    def __init__(self, value):
        self.value = value

    def __call__(self, step):
        return self.value

    def __eq__(self, other):
        return isinstance(other, Rate)

    def __hash__(self):
        return 0


def test_the_rest_tells_apart_what_says_it_is_equal_and_what_has_changed():
    rate = Rate(0.1)
    _, before = partition({"rate": rate})
    assert partition({"rate": Rate(0.1)})[1] == before
    assert partition({"rate": Rate(0.5)})[1] != before
    rate.value = 0.5
    assert partition({"rate": rate})[1] != before
    assert partition({"size": Spring(1, name=1)})[1] != partition({"size": Spring(1, name=True)})[1]


def test_keys_are_traced():
    key = jax.random.key(3)
    numbers, rest = partition(bind(lambda key: key, key=key))
    assert len(numbers) == 1
    hash(rest)
    assert merge(numbers, rest)() is key


@pytest.mark.parametrize("size", [True, 2.0, "2", None])
def test_a_count_is_an_integer(untyped, size):
    with pytest.raises(ValueError, match="size must be an integer, got"):
        Spring(size)
    assert Spring(np.int64(2)).size == 2


# --- arrays of any byte order ---

NATIVE = {">f4": np.float32, ">f8": np.float64, ">i2": np.int16, np.longdouble: np.float64, bool: bool,
          np.float16: np.float16, ">c8": np.complex64, np.clongdouble: np.complex128}  # fmt: skip


@part
class Held:
    """A part that holds whatever it is given."""

    numbers: Any = None


@pytest.mark.parametrize("dtype", NATIVE)
def test_arrays_of_a_part_are_native(dtype):
    given = np.array([0.0, 1.0, 3.0]).astype(dtype)
    for held in (
        Held(given).numbers,
        Held({"W": given}).numbers["W"],
        Held([given]).numbers[0],
        bind(len, radius=given).numbers["radius"],
    ):
        assert held.dtype == NATIVE[dtype]
        assert held.dtype.isnative
        np.testing.assert_array_equal(held, given.astype(NATIVE[dtype]))
        jnp.asarray(held)


def test_numbers_and_native_arrays_are_kept_as_they_are():
    array, axis = np.arange(3.0), Axis("noise", [1.0])
    bfloat = np.asarray(jnp.ones(2, jnp.bfloat16))
    for value in (array, axis, 2, 2.5, None, jnp.ones(2), bfloat):
        assert Held(value).numbers is value or np.shares_memory(Held(value).numbers, value)
    assert Held(np.longdouble(0.5)).numbers == 0.5
    assert Held(np.longdouble(0.5)).numbers.dtype == np.float64


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", [("a", "f4")]])
def test_arrays_of_no_numbers_are_refused(dtype):
    with pytest.raises(TypeError, match="numbers must hold numbers, got the type ") as caught:
        Held(np.zeros(2, dtype))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[1 + 1j], ["1", "2"], [None, 1.0], [True, False], [[1.0]], []])
def test_an_axis_takes_a_list_of_numbers_only(untyped, values):
    with pytest.raises(ValueError, match="axis 'noise' needs a list of at least one number"):
        Axis("noise", values)


@pytest.mark.parametrize("dtype", [">f8", ">i4", np.longdouble, np.float16])
def test_an_axis_of_any_byte_order_is_one_of_doubles(dtype):
    values = Axis("noise", np.array([1.0, 2.0]).astype(dtype)).values
    assert values.dtype == np.float64
    assert values.dtype.isnative
    assert values.tolist() == [1.0, 2.0]


class Plain:
    """Neither a number nor a part: compiled in."""


@part
class Stretched:
    """A part with a method that is one program."""

    by: Any = 1.0
    kind: Any = "line"

    @as_one
    def of(self, x, times=1):
        traced.append(isinstance(x, jax.core.Tracer))
        return self.by * times * x


traced = []


def test_a_method_as_one_is_compiled_once_for_all_numbers():
    traced.clear()
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(Stretched(2.0).of(x), 2 * x)
    np.testing.assert_array_equal(Stretched(3.0).of(x, times=4), 12 * x)
    np.testing.assert_array_equal(Stretched(5.0).of(x), 5 * x)
    assert traced == [True, True]
    Stretched(5.0, "plane").of(x)
    assert len(traced) == 3


@pytest.mark.parametrize("kind", [Plain(), type("Unhashable", (), {"__hash__": None})()])
def test_a_method_as_one_takes_any_part(kind):
    np.testing.assert_array_equal(Stretched(2.0, kind).of(jnp.ones(2)), [2, 2])


def test_a_method_as_one_is_plain_inside_of_another_program():
    lowered = jax.jit(lambda x: Stretched(2.0).of(x)).lower(jnp.ones(2)).as_text()
    assert "call" not in lowered
    np.testing.assert_array_equal(jax.grad(lambda by: Stretched(by).of(jnp.ones(3)).sum())(2.0), 3)
    with pytest.raises(TypeError, match="many numbers"):
        Stretched(Axis("by", [1.0, 2.0])).of(jnp.ones(2))


def test_a_field_that_there_is_not_is_told(untyped):
    with pytest.raises(TypeError, match=r"^Spring has no field 'stifness'; did you mean stiffness\?$"):
        Spring(3, stifness=1.0)
    with pytest.raises(TypeError, match="has no field 'q': its fields are size, stiffness, name, inner"):
        Spring(3, q=1.0)
    assert list(inspect.signature(Spring).parameters) == ["size", "stiffness", "name", "inner"]


def rate_of(outputs, sample, rate=1.0):
    return outputs


def test_parts_print_as_one_writes_them():
    made = Spring(3, np.zeros((20, 4)), inner=(np.arange(2.0), [np.float64(0.5)], {"a": rate_of}))
    assert repr(made) == "Spring(size=3, stiffness=float64[20, 4], inner=([0.0, 1.0], [0.5], {'a': rate_of}))"
    assert repr(bind(rate_of)) == "rate_of"
    assert repr(bind(rate_of, rate=np.float64(0.5))) == "bind(rate_of, rate=0.5)"
    assert jax.eval_shape(lambda x: len(word(x)) * x, jnp.zeros(3)).shape == (3,)
    rule = descent.on_log_loss(optax.sgd(0.1))
    assert repr(rule) == "descent.on_log_loss(GradientTransformationExtraArgs(...))"
    for kind in (models.MLP((4,)), models.Homogeneous((4,)), models.TwoLayer(4), models.Linear()):
        assert "\n" not in repr(kind)
    assert repr(models.MLP((4,), 3)) == "MLP(hidden=(4,), num_outputs=3)"
    assert repr(models.NNX(lambda rngs: None)) == "NNX(factory=<lambda>)"
    assert repr(observables.pgd_accuracy.given(radius=np.zeros(9))).endswith("given(radius=float64[9])")
