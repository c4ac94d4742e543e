"""Trials of the ensembles study: identities, kernel models (in the plane, by width, on pictures), and ensembles trained on pictures."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.ensembles.config import Config
from mesocosm.studies.ensembles.identities import check_identities
from mesocosm.studies.ensembles.image_kernels import KernelArm, measure_images
from mesocosm.studies.ensembles.sweeps import train_sweep
from mesocosm.studies.ensembles.toy import measure_toy
from mesocosm.studies.ensembles.trained import train_images
from mesocosm.studies.ensembles.widths import measure_linear, measure_widths, train_wide
from mesocosm.studies.interface import Trial


def trials(config: Config) -> list[Trial]:
    """Kernel models in float64; trained ensembles in float32."""
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("linear-network", measure_linear, config.linear, precision="float64"),
        Trial("widths", measure_widths, config.scaling, precision="float64"),
        Trial("wide-trained", train_wide, config.wide, precision="float64", over_seeds="map"),
        Trial("toy", measure_toy, config.toy, precision="float64"),
    ]
    if not config.images:
        return found
    for pair in config.kernels.pairs:
        arm, data = KernelArm(config.kernels, pair), (pair.inside, pair.outside)
        found.append(Trial(f"kernels-{pair.inside}", measure_images, arm, precision="float64", over_seeds="map", data=data))
    for inside, outside in ((config.trained.inside, config.trained.outside), (config.trained.outside, config.trained.inside)):
        arm = replace(config.trained, inside=inside, outside=outside)
        found.append(Trial(f"trained-{inside}", train_images, arm, over_seeds="map", data=(inside, outside)))
    swept = config.sweep.trained
    found.append(Trial("trained-sweep", train_sweep, config.sweep, over_seeds="map", data=(swept.inside, swept.outside)))
    return found
