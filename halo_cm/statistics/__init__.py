"""Statistics of mass maps, in numpy and scipy alone, each usable on a user's own maps."""

from halo_cm.statistics.apertures import aperture_masses
from halo_cm.statistics.bootstrap import (
    Estimate,
    bootstrap_weights,
    power_ratio,
    power_ratio_error,
    ratio_of_means,
)
from halo_cm.statistics.calibration import crps_fair, ranks
from halo_cm.statistics.correlation import cross_correlation, transfer_function
from halo_cm.statistics.features import (
    FEATURES,
    OCCUPIED_MASS,
    PIXEL_MASS,
    field_features,
    log_mass,
    occupied_fraction,
)
from halo_cm.statistics.power import PowerSpectrum, cross_power_spectrum_2d, power_spectrum_2d
from halo_cm.statistics.power_3d import PowerSpectrum3D, power_spectrum_3d

#: Raise it when a statistic changes its meaning or value: reports made before are then made anew.
STATISTICS_VERSION = 2

__all__ = [
    "FEATURES",
    "OCCUPIED_MASS",
    "PIXEL_MASS",
    "STATISTICS_VERSION",
    "Estimate",
    "PowerSpectrum",
    "PowerSpectrum3D",
    "aperture_masses",
    "bootstrap_weights",
    "cross_correlation",
    "cross_power_spectrum_2d",
    "crps_fair",
    "field_features",
    "log_mass",
    "occupied_fraction",
    "power_ratio",
    "power_ratio_error",
    "power_spectrum_2d",
    "power_spectrum_3d",
    "ranks",
    "ratio_of_means",
    "transfer_function",
]
