FIGURES = {}


def table(dataset):
    return ""
