"""The command line: `neuropil systems | show | data | compare | fit | predict | reproduce`.

Exit codes: 0 done; 1 a claim was measured and does not hold, or an internal error; 2 the input or the arguments do not fit (one
sentence on standard error says what was expected, what came and what to do); 130 ended by Ctrl-C, with everything finished kept.
"""

from neuropil.cli.main import app, main

__all__ = ["app", "main"]
