"""Claims in the form of before, until all papers are in the new one."""

from dynamics.study.bands import *
from dynamics.study.claim import Claim as _Claim
from dynamics.study.claim import Run, _nothing


def Claim(id, source, statement, measure, accept, ablation, runs=("main",), applies=None, needs=_nothing):
    def band(configs):
        return accept({name: Run(config, None) for name, config in configs.items()})

    return _Claim(id, source, statement, measure, band, ablation, tuple(runs), {}, applies, needs, True)
