"""Labels by a teacher on Gaussian inputs, and hand-made points whose largest margins are known."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dynamics.data.sample import Draw, Sample
from dynamics.keys import at_step, named_key
from dynamics.parts import as_one, part, static

UNITS = ("normal", "uniform")


@part
class LinearTeacher:
    r"""$x \sim N(0, I_d)$ with $y = \mathrm{sign}\langle x, w^*\rangle$, $w^* \sim N(0, I_d)$.

    The only feature of a draw is $w^*$, with label +1.

    Attributes:
      dim: input dimension d.
      num_samples, num_test: training and test samples.
    Raises: ValueError: a size below 1.
    Reference: Tsilivis et al. 2025, arXiv:2410.22069, the linear experiments.
    """

    dim: int = static()
    num_samples: int = static()
    num_test: int = static(1000)

    def __post_init__(self):
        _at_least_one(dim=self.dim, num_samples=self.num_samples, num_test=self.num_test)

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """Teacher, training samples (of one step, if given) and test samples of one seed."""
        teacher = jax.random.normal(named_key(key, "teacher"), (self.dim,), jnp.result_type(float))
        return _labelled(key, step, self, lambda x: x @ teacher, teacher[None], [1.0], tie=1.0)


@part
class ReluTeacher:
    r"""Gaussian $x$, labelled by the sign of the difference of two ReLU units $u_1$ and $u_2$.

    Where both units are inactive, at a quarter of the points, the teacher's output is 0 and the label is
    `tie`. The features of a draw are $u_1$ and $u_2$, with labels +1 and -1; a sample's feature is the unit
    of its label.

    Attributes:
      dim: input dimension d.
      num_samples, num_test: training and test samples.
      units: entries of the teacher's units, standard `normal` or `uniform` in [-1, 1].
      fraction: share of the inputs that each unit sees; the others' weights are set to 0 at random.
      tie: label of a point where both units are inactive, -1 or +1.
    Raises: ValueError: a size below 1, unknown `units`, a fraction that leaves no input, another `tie`.
    Reference: Tsilivis et al. 2025, arXiv:2410.22069, the teacher-student experiments.
    """

    dim: int = static()
    num_samples: int = static()
    num_test: int = static(1000)
    units: str = static("normal")
    fraction: float = static(1.0)
    tie: int = static(1)

    def __post_init__(self):
        _at_least_one(dim=self.dim, num_samples=self.num_samples, num_test=self.num_test)
        if self.units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {self.units!r}")
        if not 0 < self.fraction <= 1 or round(self.fraction * self.dim) < 1:
            raise ValueError(
                f"fraction must leave each unit of the teacher an input of {self.dim}, at most all, "
                f"got {self.fraction}"
            )
        if self.tie not in (-1, 1):
            raise ValueError(f"tie must be -1 or +1, got {self.tie}")

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """Teacher, training samples (of one step, if given) and test samples of one seed."""
        dtype, shape = jnp.result_type(float), (2, self.dim)
        teacher_key = named_key(key, "teacher")
        if self.units == "normal":
            units = jax.random.normal(teacher_key, shape, dtype)
        else:
            units = jax.random.uniform(teacher_key, shape, dtype, -1, 1)
        kept = round(self.fraction * self.dim)
        if kept < self.dim:
            ranks = jnp.stack(
                [jax.random.permutation(k, self.dim) for k in jax.random.split(named_key(key, "support"))]
            )
            units = jnp.where(ranks < kept, units, 0)

        def output(x):
            active = jax.nn.relu(x @ units.T)
            return active[:, 0] - active[:, 1]

        return _labelled(key, step, self, output, units, [1.0, -1.0], tie=float(self.tie))


@part
class FixedPoints:
    """The same few points in every seed, for training and for testing; the features are the points.

    Attributes:
      points: the inputs (samples, dim).
      labels: -1 or +1 of each.
    Raises: ValueError: labels other than that, or not one a point; points that are not finite.
    """

    points: Float[Array | np.ndarray, "samples dim"]
    labels: tuple[int, ...] = static()

    def __post_init__(self):
        if np.ndim(self.labels) == 1:
            object.__setattr__(self, "labels", tuple(np.asarray(self.labels).tolist()))
        if np.ndim(self.points) != 2 or len(self.points) != len(self.labels) or not self.labels:
            raise ValueError(
                f"points must have shape (samples, dim) with one label each, got shape "
                f"{np.shape(self.points)} and {len(self.labels)} labels"
            )
        if not set(self.labels) <= {-1, 1}:
            raise ValueError(f"labels must be -1 or +1, got {self.labels}")
        if not np.isfinite(np.asarray(self.points)).all():
            raise ValueError("points must be finite, but some of them are NaN or infinite")

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """The points."""
        del key
        x = jnp.asarray(self.points, float)
        y = jnp.asarray(self.labels, x.dtype)
        points = Sample(x, y, _classes(y), jnp.arange(len(self.labels)))
        return Draw(points, points, x, y, jnp.asarray([-1.0, 1.0], x.dtype), _classes(y))


def orthogonal(dim: int, num_positive: int, num_negative: int, radius: int | float) -> FixedPoints:
    r"""$x_i = R\,e_i$, the first `num_positive` of them labelled +1.

    Raises: ValueError: more points than dimensions, or no point.
    """
    count = num_positive + num_negative
    if not 1 <= count <= dim or min(num_positive, num_negative) < 0:
        raise ValueError(
            f"orthogonal points need 1 to dim={dim} of them, got {num_positive} and {num_negative}"
        )
    return FixedPoints(radius * np.eye(count, dim), (1,) * num_positive + (-1,) * num_negative)


def _labelled(key, step, sizes, output, features, signs, tie):
    def points(key, name, count):
        x = jax.random.normal(named_key(key, name), (count, sizes.dim), features.dtype)
        value = output(x)
        y = jnp.where(value == 0, tie, jnp.sign(value))
        classes = _classes(y)
        return Sample(x, y, classes, jnp.zeros_like(classes) if len(signs) == 1 else 1 - classes)

    signs = np.asarray(signs)
    feature_signs = jnp.asarray(signs, features.dtype)
    return Draw(
        points(at_step(key, step), "train", sizes.num_samples),
        points(key, "test", sizes.num_test),
        features,
        feature_signs,
        jnp.asarray([-1.0, 1.0], features.dtype),
        _classes(feature_signs),
    )


def _classes(y):
    """Target class 0 of label -1, 1 of label +1."""
    return (y > 0).astype(jnp.result_type(int))


def _at_least_one(**sizes):
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
