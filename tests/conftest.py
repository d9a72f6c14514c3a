"""Settings for every test: float64, no silent rank promotion, no TF32."""

import atexit
import ctypes
import gc
import importlib.util
import itertools
import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

# a shell's background job ignores Ctrl-C, and so would the processes that the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# compiled programs are shared by the processes of this test run, and by no other
_CACHE = tempfile.mkdtemp(prefix="dynamics-tests-")
os.environ.setdefault("DYNAMICS_CACHE", _CACHE)
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

# compiling fills most of the time of tests, and running that of the commands that they start, which are
# compiled nearly as users' are; those that start many small ones take DYNAMICS_TESTS_QUICK. Flags that are
# given come last, and win; workers inherit what was given
_FLAGS = os.environ.setdefault("DYNAMICS_TESTS_FLAGS", os.environ.get("XLA_FLAGS", ""))
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_QUICK += " --xla_cpu_parallel_codegen_split_count=1"
if jax.version.__version_info__ < (0, 11):  # XLA ends the process at a flag that it does not know
    _QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = os.environ["DYNAMICS_TESTS_QUICK"] = f"{_QUICK} {_FLAGS}".strip()
jax.devices()  # XLA reads its flags once
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=1 {_FLAGS}".strip()

# tracing makes many short-lived objects, and none of the collector's frequent rounds finds garbage
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 50, 50)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "float32")  # the highest there is

# the same examples every time; compilation makes the first example slow, so there is no deadline
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("repeatable")

LONGEST = (
    "experiments",
    "test_notebooks",
    "test_readme",
    "test_gram",
    "test_kills",
    "test_batching",
    "test_processes",
    "test_cli",
)


# of long tests with many cases, how many run by default; the others are exhaustive
CASES = {
    "test_a_linear_model_has_the_margin_over_the_dual_norm": 1,
    "test_a_prediction_on_the_grid_is_one_solve": 1,
    "test_a_step_on_rescaled_data_is_one_of_the_step_size_over_the_squared_scale": 1,
    "test_a_weight_mixes_the_losses_at_clean_and_moved_inputs": 1,
    "test_a_zero_gradient_is_no_step": 4,
    "test_accuracy_of_the_best_rule": 1,
    "test_adversarial_loss_is_the_loss_at_the_perturbed_inputs": 1,
    "test_agrees_with_a_loop_over_seeds": 1,
    "test_agrees_with_a_numpy_loop": 1,
    "test_agrees_with_neural_tangents": 2,
    "test_all_of_a_training_is_in_one_precision": 1,
    "test_averaging_network_has_the_distance_to_one_hyperplane": 1,
    "test_axes_are_labelled": 1,
    "test_bad_activations": 2,
    "test_bad_numbers": 3,
    "test_bad_values": 9,
    "test_batches_are_loops": 6,
    "test_damaged_files_are_refused": 5,
    "test_degree": 6,
    "test_depth_leaves_the_range_of_single_precision_in_none_but_the_result": 1,
    "test_descent_against_a_loop": 1,
    "test_direction_attains_the_dual_norm": 4,
    "test_each_layer_has_its_own_law": 1,
    "test_environment_in_which_jax_does_not_start": 2,
    "test_every_attack_and_support_keeps_to_the_box_of_the_data": 10,
    "test_exact_attacks_of_linear_networks": 1,
    "test_expectations_by_numerical_integration": 6,
    "test_float32": 1,
    "test_forward": 12,
    "test_forward_and_gradient": 1,
    "test_from_pre_activations": 6,
    "test_is_the_jacobians": 1,
    "test_it_is_chosen_where_it_pays": 1,
    "test_iterates_agree_with_a_plain_numpy_loop": 1,
    "test_labels_follow_the_clusters": 1,
    "test_linear_kernels_robustness_is_a_count": 2,
    "test_log_decrease_lowers_the_logarithm_of_the_loss_by_the_learning_rate": 4,
    "test_log_loss_is_the_logarithm_of_the_loss": 2,
    "test_margin_splits_into_signal_and_memory": 1,
    "test_max_logit_bounds_hold_against_a_dense_search_in_the_plane": 1,
    "test_mixed_radius": 2,
    "test_momentum_is_an_average_from_zero": 6,
    "test_newton_schulz_replaces_the_svd_of_matrices_only": 4,
    "test_no_vector_of_the_unit_ball_has_a_larger_inner_product": 6,
    "test_noise_is_orthogonal_to_the_signal": 1,
    "test_numbers_are_traced": 1,
    "test_optax_rules_agree_with_a_python_loop": 1,
    "test_parameters_are_affine_in_samples_and_in_dimension": 1,
    "test_patches_move_in_the_span_of_their_own_family": 1,
    "test_relu_labels_are_the_teachers": 1,
    "test_restarted_pgd_finds_what_brute_force_finds": 1,
    "test_rules_act_on_the_trained_entries_alone": 1,
    "test_same_as_the_whole": 1,
    "test_scores_add_up_in_float32_and_after_an_attack": 1,
    "test_scores_are_loops_over_patches_and_add_up": 1,
    "test_seeds_teachers_and_samples_are_independent": 1,
    "test_several_losses_and_terms_add_up": 1,
    "test_shares_come_together": 1,
    "test_sign_parity_on_every_corner_and_within_the_margin": 1,
    "test_sphere_agrees_with_another_quadrature_and_sums_to_the_diagonal": 1,
    "test_steps_on_the_loss_and_on_its_logarithm_are_those_of_the_formula": 4,
    "test_steps_up_to_1_never_overshoot": 1,
    "test_sum_logit_radius": 1,
    "test_sum_logit_radius_of_labels_with_several_clusters": 1,
    "test_the_account_of_features": 1,
    "test_the_first_layer_of_any_network_is_named_by_its_path": 1,
    "test_the_learning_rate_decays_or_follows_a_schedule": 4,
    "test_the_network_is_the_formula": 1,
    "test_the_size_of_a_chunk_changes_nothing": 1,
    "test_the_sum_of_losses_is_their_mean_times_their_number": 1,
    "test_they_meet_and_are_ordinary_processes_again": 1,
    "test_too_few_addresses": 1,
    "test_two_halves_are_the_whole": 1,
    "test_two_layer_bounds_hold_against_a_dense_search_in_the_plane": 1,
    "test_where_it_cannot_apply_it_says_why_and_auto_goes_direct": 1,
    "test_where_loss_and_gradient_have_underflowed_there_is_no_step": 4,
    "test_works_in_an_optax_chain_under_jit": 4,
    "test_writes_a_small_gif": 1,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Long files first, so that no worker is left alone with one at the end; and `CASES`."""

    def place(item):
        return next((i for i, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))

    items.sort(key=place)
    for _, cases in itertools.groupby(items, key=lambda item: item.nodeid.partition("[")[0]):
        cases = list(cases)
        kept = CASES.get(cases[0].originalname, len(cases))
        some = {round(i * (len(cases) - 1) / max(kept - 1, 1)) for i in range(kept)}
        for number, case in enumerate(cases):
            if number not in some:
                case.add_marker(pytest.mark.exhaustive)


MOST_KB = 1_700_000  # of a test process between two files


@pytest.fixture(autouse=True, scope="module")
def _programs():
    """Tests compile outside of `simulate` too, which lets programs go in time; and no process grows large."""
    yield
    from dynamics import startup  # late: the hook that checks types comes before

    startup.let_programs_go()
    about = Path("/proc/self/status")
    lines = about.read_text().splitlines() if about.exists() else []
    if any(line.startswith("VmRSS") and int(line.split()[1]) > MOST_KB for line in lines):
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is freed goes back


@pytest.fixture(autouse=True)
def _precision():
    """The command line sets the precision of its process: give the tests' own back."""
    yield
    jax.config.update("jax_enable_x64", True)


REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def reference():
    """Loads a slow independent version by name: `reference("numpy_loop")`."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"reference_{name}", REFERENCE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def flaws(reference):
    """What makes a figure hard to read, as sentences."""
    return reference("legibility").flaws


@pytest.fixture
def untyped():
    """Turn the shape and type checks of the test run off, so that the library's own messages show."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
