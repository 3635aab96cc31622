"""Statistics of mass maps, in numpy and scipy alone, each usable on a user's own maps."""

from halo_cm.statistics.apertures import aperture_masses, masses_around, masses_within
from halo_cm.statistics.bispectrum import Bispectrum, bispectrum_2d, reduced_bispectrum
from halo_cm.statistics.bootstrap import (
    Estimate,
    bootstrap_weights,
    power_ratio,
    power_ratio_error,
    ratio_of_means,
)
from halo_cm.statistics.calibration import (
    RankHistogram,
    SpreadSkill,
    crps_fair,
    energy_score_fair,
    rank_histogram,
    ranks,
    spread_skill,
)
from halo_cm.statistics.contents import Relation, binned_relation, component_fraction
from halo_cm.statistics.correlation import cross_correlation, suppression, transfer_function
from halo_cm.statistics.coverage import Coverage, tarp_coverage
from halo_cm.statistics.features import FEATURES, field_features
from halo_cm.statistics.frechet import FRECHET_FEATURES, frechet_distance, frechet_features
from halo_cm.statistics.mass_assignment import poisson_shot_noise
from halo_cm.statistics.one_point import (
    BRIGHT_MASS,
    OCCUPIED_MASS,
    PDF_EDGES,
    PIXEL_MASS,
    OnePointPDF,
    isolated_pixels,
    log_mass,
    occupied_fraction,
    one_point_pdf,
)
from halo_cm.statistics.peaks import peak_counts
from halo_cm.statistics.power import PowerSpectrum, cross_power_spectrum_2d, power_spectrum_2d
from halo_cm.statistics.power_3d import (
    PowerSpectrum3D,
    cross_power_spectrum_3d,
    power_spectrum_3d,
)
from halo_cm.statistics.profiles import (
    conditional_deviation_by_radius,
    profiles_around,
    radial_profile,
)
from halo_cm.statistics.scattering import Scattering, scattering_available, wavelet_scattering
from halo_cm.statistics.two_sample import (
    QuadraticLogistic,
    TwoSampleTest,
    auc,
    classifier_two_sample_test,
)

#: Raise it when a statistic changes its meaning or value: reports made before are then made anew.
STATISTICS_VERSION = 3

__all__ = [
    "BRIGHT_MASS",
    "FEATURES",
    "FRECHET_FEATURES",
    "OCCUPIED_MASS",
    "PDF_EDGES",
    "PIXEL_MASS",
    "STATISTICS_VERSION",
    "Bispectrum",
    "Coverage",
    "Estimate",
    "OnePointPDF",
    "PowerSpectrum",
    "PowerSpectrum3D",
    "QuadraticLogistic",
    "RankHistogram",
    "Relation",
    "Scattering",
    "SpreadSkill",
    "TwoSampleTest",
    "aperture_masses",
    "auc",
    "binned_relation",
    "bispectrum_2d",
    "bootstrap_weights",
    "classifier_two_sample_test",
    "component_fraction",
    "conditional_deviation_by_radius",
    "cross_correlation",
    "cross_power_spectrum_2d",
    "cross_power_spectrum_3d",
    "crps_fair",
    "energy_score_fair",
    "field_features",
    "frechet_distance",
    "frechet_features",
    "isolated_pixels",
    "log_mass",
    "masses_around",
    "masses_within",
    "occupied_fraction",
    "one_point_pdf",
    "peak_counts",
    "poisson_shot_noise",
    "power_ratio",
    "power_ratio_error",
    "power_spectrum_2d",
    "power_spectrum_3d",
    "profiles_around",
    "radial_profile",
    "rank_histogram",
    "ranks",
    "ratio_of_means",
    "reduced_bispectrum",
    "scattering_available",
    "spread_skill",
    "suppression",
    "tarp_coverage",
    "transfer_function",
    "wavelet_scattering",
]
