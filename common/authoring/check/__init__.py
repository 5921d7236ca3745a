"""The contract of an app as checks: ``edgeloop app check`` and each app's own tests run them.

Checks are found by the entry point group ``edgeloop.checks``. A check that fails names what is wrong and the
line of the app where it went wrong.
"""

from common.authoring.check.checks import (
    Check,
    CheckFailed,
    CheckSkipped,
    Result,
    find_checks,
    require,
    run_check,
    run_checks,
)
from common.authoring.check.subject import AppUnderCheck

__all__ = [
    "AppUnderCheck",
    "Check",
    "CheckFailed",
    "CheckSkipped",
    "Result",
    "find_checks",
    "require",
    "run_check",
    "run_checks",
]
