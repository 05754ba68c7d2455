"""Images on ptapp's loop, as a library: the names below, each imported when it is first used.

The command line imports this package too, and should not wait for torch only to print its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptapp_core.data.loader import Loader as Loader
    from ptapp_core.fit import fit as fit
    from ptapp_core.kinds.kind import Supervised as Supervised
    from ptapp_core.loop.optim import build_optimizer as build_optimizer
    from ptapp_core.machine.runtime import Runtime as Runtime
    from ptapp_core.nn.losses import build_loss as build_loss
    from ptapp_core.plan import Plan as Plan
    from ptapp_core.runs.run import Run as Run
    from ptapp_vision.augment.batch import Augment as Augment
    from ptapp_vision.data.recognise import load as load
    from ptapp_vision.models import build as build
    from ptapp_vision.models.whole import Pixels as Pixels
    from ptapp_vision.models.whole import pixel_statistics as pixel_statistics

_HOME = {
    "fit": "ptapp_core.fit",
    "Loader": "ptapp_core.data.loader",
    "Supervised": "ptapp_core.kinds.kind",
    "build_loss": "ptapp_core.nn.losses",
    "build_optimizer": "ptapp_core.loop.optim",
    "Plan": "ptapp_core.plan",
    "Run": "ptapp_core.runs.run",
    "Runtime": "ptapp_core.machine.runtime",
    "Augment": "ptapp_vision.augment.batch",
    "load": "ptapp_vision.data.recognise",
    "build": "ptapp_vision.models",
    "Pixels": "ptapp_vision.models.whole",
    "pixel_statistics": "ptapp_vision.models.whole",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
