"""Claims in the form of before, until all papers are in the new one."""
# ruff: noqa: F401, F403

from dynamics.study.bands import *
from dynamics.study.claim import Ablation, Run, _nothing, set_as
from dynamics.study.claim import Claim as _Claim

MORE_RECORDS = "records nearer to each other (--records)"


def Claim(id, source, statement, measure, accept, ablation, runs=("main",), applies=None, needs=_nothing):
    """A claim whose functions are given runs by name."""

    def band(configs):
        return accept({name: Run(config, None) for name, config in configs.items()})

    return _Claim(id, source, statement, measure, band, ablation, tuple(runs), {}, applies, needs, True)
