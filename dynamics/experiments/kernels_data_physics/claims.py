"""The claims of the kernel picture of wide networks, each with the ablation that breaks it, and their runs.

X1 to X11 are results that lecture notes such as arXiv:2307.02693 rest on; the choice is ours, as the text of
those was not available. X1 is measured on ten points on the sphere in five dimensions; the prototype that its
band comes from took eight Gaussian ones. The exponent is the same for all points.

Identities, bounds and every band on a single trained network must hold in every seed; exponents that a few
seeds estimate must hold for the mean over seeds (`typically`).
"""

from dataclasses import replace
from functools import partial

import numpy as np

from dynamics.experiments.kernels_data_physics import quantities as q
from dynamics.experiments.kernels_data_physics.setting import PRESETS, SpectralBias
from dynamics.study import Ablation, CheckRun, Claims, around, at_least, at_most, between, typically
from dynamics.study.quantities import first, last

KERNELS, LINEAR, ENSEMBLE = PRESETS["kernels"], PRESETS["linear"], PRESETS["ensemble"]
CIRCLE, CURVES, CUBE = PRESETS["small"], PRESETS["learning_curves"], PRESETS["hypercube"]
ODD = replace(CIRCLE, frequencies=(3,), width=512, steps=2000, records=10)
REGULAR = replace(CURVES, regular=True, sizes=(16, 32, 64), frequencies=(3, 4, 6))

RUNS = {
    "kernels": CheckRun(KERNELS),
    "kernels_erf": CheckRun(replace(KERNELS, activation="erf")),
    "fluctuation": CheckRun(replace(KERNELS, widths=(256, 512), draws=4000)),
    "width": CheckRun(PRESETS["width"], min_seeds=8),
    "linear": CheckRun(replace(LINEAR, rates=(1.0,))),
    "stable": CheckRun(replace(LINEAR, rates=(1.95,), records=10)),
    "unstable": CheckRun(replace(LINEAR, rates=(2.05,), records=10)),
    "ensemble": CheckRun(ENSEMBLE, min_seeds=1000),
    "readout": CheckRun(replace(ENSEMBLE, trained="second"), min_seeds=1000),
    "circle": CheckRun(CIRCLE),
    "odd": CheckRun(ODD, max_seeds=2),
    "odd_rich": CheckRun(replace(ODD, frequencies=(5,), amplitudes=(1.0,), steps=500), max_seeds=2),
    "biases": CheckRun(replace(CIRCLE, biases=True, frequencies=(3, 5))),
    "rich": CheckRun(replace(CIRCLE, frequencies=(6, 8), amplitudes=(1.0,))),
    "sphere": CheckRun(PRESETS["sphere"], max_seeds=4),
    "learning_curves": CheckRun(CURVES, min_seeds=4),
    "regular": CheckRun(REGULAR, max_seeds=1),
    "hypercube": CheckRun(CUBE, min_seeds=5),
    "hypercube_biases": CheckRun(replace(CUBE, bias_std=1.0), min_seeds=5),
    "distillation": CheckRun(PRESETS["distillation"], max_seeds=3, package="sklearn"),
}
CLAIMS = Claims(RUNS)

OTHER_SCALE = Ablation("initial weights 1.1 times as large as the theory's", {"init_scale": 1.1})
MEAN_FIELD = Ablation("mean-field scaling", {"mean_field": True})
NONLINEAR = Ablation("the network itself, not linearised", {"linearized": False})
FEW = Ablation("networks of 8 neurons", {"width": 8})
LARGE = Ablation("targets ten times as large", {"amplitudes": (1.0,)})
SMALL = Ablation("targets a tenth as large", {"amplitudes": (0.1,)})
BIASES = Ablation("hidden biases", {"biases": True})
NO_BIASES = Ablation("no hidden biases", {"biases": False})
FIRST = Ablation("the first layer alone", {"trained": "first"})
ERF = Ablation("the erf activation, odd and smooth", {"activation": "erf"})
UNTRAINED = Ablation("no learning of the images", {"steps": 0})
MANY_DIMS, FEW_DIMS = Ablation("d = 200", {"cube_dim": 200}), Ablation("d = 4", {"cube_dim": 4})


def on_circle(config) -> bool:
    """Whether a run is about the frequencies that a wide network learns while it stays near its kernel."""
    if not isinstance(config, SpectralBias):
        return False
    plain = config.activation == "relu" and not config.biases and config.width >= 2048 and config.grid >= 64
    return plain and config.amplitudes == (0.1,) and config.frequencies == (2, 4, 6, 8)


CONCENTRATION = "X1, the kernel of a finite network (Jacot et al. 2018)"
DYNAMICS = "X3, function-space dynamics"
GAUSSIAN = "X4, ensembles of networks (Lee et al. 2019, Corollary 1)"
BIAS = "X5, spectral bias (Basri et al. 2019)"
RIDGELESS = "X7, learning curves of ridgeless regression"

fluctuation = CLAIMS.about("fluctuation", source=CONCENTRATION)
wide = CLAIMS.about("width", source="X2, linearisation (Lee et al. 2019; Chizat et al. 2019)")
linear = CLAIMS.about("linear", source=DYNAMICS)
both, readout = (CLAIMS.about(run, source=GAUSSIAN) for run in ("ensemble", "readout"))
without, biases = (CLAIMS.about(run, source=BIAS) for run in ("circle", "biases"))
sphere = partial(CLAIMS.about, "sphere", source="X6, spectrum on the sphere")
curves = CLAIMS.about("learning_curves", source=RIDGELESS)
images = CLAIMS.about("distillation", source="X9, data distillation (Nguyen et al. 2021)")
CLAIMS.hold(
    *((CLAIMS.about(run, where={"layer": layer}, source=CONCENTRATION), f"X1-{layer}{end}",
       f"{activation}: the kernel of {what} is as far from its limit as width^(-0.5 +- 0.06)",
       q.width_exponent("kernel_error"), typically(around(-0.5, absolute=0.06)), OTHER_SCALE,
       r"\frac{\|\hat\Theta - \Theta\|}{\|\Theta\|} \propto m^{-1/2}")
      for run, activation, end in (("kernels", "relu", ""), ("kernels_erf", "erf", "-erf"))
      for layer, what in (("first", "the first layer"), ("second", "the second"), ("both", "both layers"))),
    (fluctuation, "X1-variance-first",
     "with output weights +-1, width times the variance of the first layer's kernel is 1/4",
     q.FIRST_VARIANCE.quantity, around(0.25, relative=0.08),
     Ablation("normal output weights, of equal mean kernel", {"output": "normal"}),
     r"m\,\mathrm{Var}\,\hat\Theta(x, x) = \frac{1}{4}"),
    (fluctuation, "X1-variance-second", "and of the second layer's 5/4",
     q.SECOND_VARIANCE.quantity, around(1.25, relative=0.08), ERF,
     r"m\,\mathrm{Var}\,\hat\Theta(x, x) = \frac{5}{4}"),
    (wide, "X2-weights", "weights move by width^(-0.5 +- 0.05) of their size",
     q.width_exponent("weight_motion"), typically(around(-0.5, absolute=0.05)), MEAN_FIELD,
     r"\frac{\|\theta_t - \theta_0\|}{\|\theta_0\|} \propto m^{-1/2}"),
    (wide, "X2-linear", "networks are width^(-0.5 +- 0.12) from linear in their parameters",
     q.width_exponent("linear_gap"), typically(around(-0.5, absolute=0.12)), MEAN_FIELD,
     r"f - f_{\mathrm{lin}} \propto m^{-1/2}"),
    (wide, "X2-infinite", "linearised networks are width^(-0.5 +- 0.12) from the infinite one",
     q.width_exponent("infinite_gap"), typically(around(-0.5, absolute=0.12)), MEAN_FIELD,
     r"f_{\mathrm{lin}} - f_\infty \propto m^{-1/2}"),
    (wide, "X2-drift", "the kernel moves less than the weights: by width^(-1) to width^(-0.7)",
     q.width_exponent("kernel_drift"), typically(between(-1.0, -0.7)), MEAN_FIELD),
    (linear, "X3-closed-form",
     "gradient descent on the linearised network is the closed form, mode by mode, to 1e-10",
     q.closed_form_error, at_most(1e-10, 0.0), NONLINEAR,
     r"r_i(t) = (1 - \eta\lambda_i)^t\,r_i(0)"),
    (linear, "X3-distance", "and its parameters are where the closed form says, to 1e-8 of their distance",
     q.distance_error, at_most(1e-8, 0.0), NONLINEAR,
     r"\|\theta_t - \theta_0\|^2 = \sum_i \frac{(1 - (1 - \eta\lambda_i)^t)^2}{\lambda_i}\,r_i(0)^2"),
    (CLAIMS.about("stable", source=DYNAMICS), "X3-stable",
     "below 2 / lambda_max it converges: at 1.95 the top mode shrinks by log 0.95 a step",
     q.top_growth, around(-0.051293294, absolute=1e-6), Ablation("2.05 / lambda_max", {"rates": (2.05,)}),
     r"\eta < \frac{2}{\lambda_{\max}}"),
    (CLAIMS.about("unstable", source=DYNAMICS), "X3-unstable",
     "above it diverges: at 2.05 the top mode grows by log 1.05 a step",
     q.top_growth, around(0.048790164, absolute=1e-6), Ablation("1.95 / lambda_max", {"rates": (1.95,)}),
     r"\eta > \frac{2}{\lambda_{\max}}"),
    (both, "X4-variance",
     "over 1,000 networks outputs vary as predicted, at each point and time, within 12 %",
     q.ensemble_variance, at_most(0.12), OTHER_SCALE),
    (both, "X4-mean", "and their mean is the predicted one within 4 standard errors",
     q.ensemble_mean, at_most(4.0), FEW),
    (readout, "X4-readout-variance", "so too where the output weights alone train",
     q.ensemble_variance, at_most(0.12), OTHER_SCALE),
    (readout, "X4-posterior", "whose limit is the Gaussian process posterior, to 1e-10",
     q.posterior_distance, at_most(1e-10, 0.0), Ablation("both layers train", {"trained": "both"})),
    (both, "X4-not-bayesian",
     "training both layers is not Bayesian: the variance is above the posterior's by 1 % at least",
     q.posterior_ratio, at_least(1.01), Ablation("output weights alone train", {"trained": "second"})),
    (CLAIMS.about("circle", source=BIAS, applies=on_circle),
     "X5-times", "frequencies 2 to 8 are learned when 1 / lambda_k says, within 10 %",
     q.time_error, at_most(0.1, 0.0), LARGE,
     r"T_k = \frac{\ln 10}{-\ln(1 - \eta N \lambda_k)}"),
    (CLAIMS.about("odd", source=BIAS), "X5-odd",
     "without hidden biases frequency 3 is never learned, at any time: its residual is 1 to 1e-10",
     q.most_learned, at_most(1e-10, 0.0), BIASES),
    (CLAIMS.about("odd_rich", source=BIAS),
     "X5-odd-rich", "nor is frequency 5 by a network that leaves the kernel regime",
     q.most_learned, at_most(1e-10, 0.0), BIASES),
    (biases, "X5-biases", "with them frequencies 3 and 5 are learned when 1 / lambda_k says, within 15 %",
     q.time_error, at_most(0.15, 0.0), NO_BIASES,
     r"T_k = \frac{\ln 10}{-\ln(1 - \eta N \lambda_k)}"),
    (without, "X5-slope", "first layer: eigenvalues fall as k^(-2 +- 0.02) over even frequencies 20 to 60",
     q.circle_decay(range(20, 61, 2)), around(-2.0, absolute=0.02), ERF,
     r"\lambda_k \propto k^{-2}"),
    (biases, "X5-slope-biases", "and with biases over all frequencies from 20 to 60",
     q.circle_decay(range(20, 61)), around(-2.0, absolute=0.02), ERF,
     r"\lambda_k \propto k^{-2}"),
    (CLAIMS.about("rich", source="X11, leaving the kernel regime"), "X11-late",
     "targets ten times as large: frequencies 6 and 8 are not yet learned at 1.3 times their time",
     lambda run: q.least_left(run, 1.3), at_least(0.1), SMALL),
    *((sphere(where={"degree": degree}), f"X6-degree-{degree}", statement,
       lambda run: run.degree_eigenvalue, around(value, absolute=1e-12), FIRST)
      for degree, statement, value in (
          (0, "the eigenvalue of degree 0 on S^2 is 1/4", 1 / 4), (1, "of degree 1 1/6", 1 / 6),
          (2, "of degree 2 5/128", 5 / 128), (4, "and of degree 4 1/384", 1 / 384))),
    (sphere(where={"degree": slice(3, None, 2)}), "X6-odd", "odd degrees from 3 on have none, to 1e-12",
     lambda run: np.abs(run.degree_eigenvalue).max("degree"), at_most(1e-12, 0.0), BIASES),
    (sphere(), "X6-groups",
     "of 1,500 random points: groups of 1, 3, 5 and 9 eigenvalues, each within 15 % of theory",
     q.groups_error, at_most(0.15, 0.0), Ablation("100 points", {"sphere_points": 100})),
    (sphere(), "X6-gap", "and a gap below them: the next is less than half of the last",
     q.gap, at_most(0.5), BIASES),
    (sphere(), "X6-decay", "eigenvalues fall as k^(-3 +- 0.1) over even degrees 10 to 30",
     q.sphere_decay(range(10, 31, 2)), around(-3.0, absolute=0.1), ERF,
     r"\lambda_k \propto k^{-3}"),
    (curves, "X7-rough", "teacher power k^-2: error falls as P^(-1 +- 0.15), the exponent a - 1",
     q.learning_curve(2.0).quantity, typically(around(-1.0, absolute=0.15)), NO_BIASES,
     r"\mathrm{error} \propto P^{-(a - 1)}"),
    (curves, "X7-middle", "k^-4: an exponent between -3.3 and -2.4",
     q.learning_curve(4.0).quantity, typically(between(-3.3, -2.4, -3.0)), NO_BIASES),
    (curves, "X7-smooth", "k^-8: saturated at 2 alpha = 4, not 7: an exponent between -4.4 and -3.2",
     q.learning_curve(8.0).quantity, typically(between(-4.4, -3.2, -4.0)), NO_BIASES),
    (CLAIMS.about("regular", source=RIDGELESS),
     "X7-grid", "on a regular grid the predictor is the sum over the frequency's aliases, to 1e-4",
     q.grid_error, at_most(1e-4, 0.0),
     Ablation("the aliases of another kernel: that of both layers", {"aliases": "both"}),
     r"f(\varphi) = \frac{\sum_q \lambda_{|k + qP|} \cos((k + qP)\varphi)}{\sum_q \lambda_{|k + qP|}}"),
    *((CLAIMS.about(run, where={"degree": degree, "size": size}, source="X8, parities on the hypercube"),
       f"X8-{start}-{degree}-{size}", f"{start} biases, the parity of {degree} from {size} samples: {words}",
       lambda run: run.error, typically(band), ablation)
      for run, start, degree, size, words, band, ablation in (
          ("hypercube", "without", 1, 64, "error at most 0.08", at_most(0.08), MANY_DIMS),
          ("hypercube", "without", 2, 64, "at least 0.6", at_least(0.6), FEW_DIMS),
          ("hypercube", "without", 2, 512, "at most 0.08", at_most(0.08), ERF),
          ("hypercube", "without", 3, 512, "at least 1.2: never learned", at_least(1.2),
           Ablation("biases", {"bias_std": 1.0})),
          ("hypercube_biases", "with", 1, 64, "error at most 0.08", at_most(0.08), MANY_DIMS),
          ("hypercube_biases", "with", 2, 64, "at least 0.6", at_least(0.6), FEW_DIMS),
          ("hypercube_biases", "with", 2, 512, "at most 0.08", at_most(0.08),
           Ablation("d = 40", {"cube_dim": 40})),
          ("hypercube_biases", "with", 3, 512, "0.75 to 1.1: being learned", between(0.75, 1.1),
           Ablation("no biases", {"bias_std": 0.0})))),
    (images, "X9-start", "ten images, one a class, give an accuracy of at most 0.70 on digits",
     lambda run: first(run.accuracy).isel(support=0), typically(at_most(0.70)),
     Ablation("fifty", {"support": (50,)})),
    (images, "X9-accuracy", "ten learned ones at least 0.92",
     lambda run: last(run.accuracy).isel(support=0), typically(at_least(0.92)), UNTRAINED),
    (images, "X9-loss", "with a loss of at most 0.15 on the training images",
     lambda run: last(run.train_loss).isel(support=0), typically(at_most(0.15)), UNTRAINED),
)  # fmt: skip
