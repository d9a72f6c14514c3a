"""What a sweep of eigenfeatures shows: accuracies of the kernel predictor with the most features it kept."""

from dynamics.study import Law


def _most_kept(name):
    return lambda dataset: dataset[name].isel(kept=-1)


MEASURES = (
    Law("clean_accuracy", "clean test accuracy, most features kept", _most_kept("kept_clean")),
    Law("robust_accuracy", "robust test accuracy, most features kept", _most_kept("kept_robust")),
)
