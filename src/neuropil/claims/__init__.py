"""The evidence: what each system's paper claims, as experiments that anybody can repeat.

One file a system, `claims/<family>/<slug>.py`, mirrors the families. `neuropil reproduce <slug>` runs them.
"""

from neuropil.claims.core import Claim, Criterion, Judgement, at_least, at_most, between, claim, claims_of, judge

__all__ = ["Claim", "Criterion", "Judgement", "at_least", "at_most", "between", "claim", "claims_of", "judge"]
