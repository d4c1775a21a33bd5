"""Numbers that are raised when pictures can differ from those of an earlier version of batchgen.

One for each thing that shapes a picture, so that only jobs and images that use what changed are
refused, and an upgrade that changes no picture refuses no folder. CONTRIBUTING.md says when to
raise one. The things are:

    pipeline.sdxl, pipeline.fake       all that a pipeline makes
    prediction.<prediction_type>       models of that type, as their scheduler_config.json has it
    mark.ztsnr                         single files with that mark, where their
                                       scheduler_config.json does not say so itself
    scheduler.<name>                   images of that scheduler
    setting.<name>                     images for which that setting is not the default
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

REVISIONS: Mapping[str, int] = MappingProxyType({"mark.ztsnr": 2})
"""Thing to number; 1, which is that of 0.1.0, for all that are not named.

- `mark.ztsnr`: such models get the betas that they were trained with.
"""


def raised(things: Iterable[str]) -> dict[str, int]:
    """Return the numbers of those things whose number is not 1 any more."""
    return {thing: REVISIONS[thing] for thing in things if thing in REVISIONS}
