"""Configuration of the embedded universe: boxes, haloes, baryons and cutouts."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from halo_cm.containers import SPLITS

#: Conditioning numbers of a cutout, in the order of `Cutouts.parameters`.
PARAMETER_NAMES = (
    "Omega_m",
    "sigma_8",
    "log10_Mc",
    "theta_ej",
    "A_star",
    "s_scatter",
    "log10_M200c",
)

#: Raise it with every change of the physics, of a default or of the order of random numbers: files
#: made before are then not taken for files of the same universe.
UNIVERSE_VERSION = 3

#: Places in its range at which the set 1P puts a varied parameter; 0.5 is the fiducial value.
VARIATIONS_1P = (0.0, 0.25, 0.75, 1.0)
#: Boxes of the set 1P: the fiducial one, and the variations of Omega_m and sigma_8.
N_BOXES_1P = 1 + 2 * len(VARIATIONS_1P)

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Range = Annotated[tuple[float, float], Field(strict=False)]


class BaryonConfig(BaseModel):
    """Constants of the baryon model that no draw varies (x = r / R200c).

    Gas profile after Schneider et al. (2019, arXiv:1810.08629, eq. 2.12), stellar fractions after
    its eq. 2.20, collisionless relaxation after Schneider & Teyssier (2015, arXiv:1510.06034).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    truncation: Positive = 4.0
    """Radius epsilon at which the halo profile is truncated [R200c]."""
    reach: Positive = 5.0
    """Radius at which every displacement is zero [R200c]."""
    gas_core: Positive = 0.1
    """Core radius theta_co of the gas [R200c]."""
    gas_mu: Positive = 0.6
    """Steepness with which the gas slope depends on M200c / Mc."""
    gas_gamma: Positive = 2.0
    """Sharpness gamma of the outer truncation of the gas."""
    gas_delta: Positive = 7.0
    """Outer slope delta of the gas."""
    star_pivot: Positive = 2.5e11
    """Pivot mass M1 of the stellar fractions [Msun/h]."""
    star_slope: Positive = 0.32
    """Slope of the total stellar fraction, f_* = A_star (M1 / M)^slope."""
    central_slope: Positive = 0.6
    """Slope of the central galaxy's fraction."""
    central_radius: Positive = 0.015
    """Radius R_h of the central galaxy [R200c]."""
    agn_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a halo's AGN is active; 0 switches this bimodal latent off."""
    agn_boost: Positive = 1.0
    """What an active AGN adds to log10 Mc [dex]."""
    diffuse_fraction: Fraction = 0.3
    """Part of the central galaxy's mass in diffuse (intracluster) light."""
    star_particle_mass: Positive = 1.3e7
    """Least mass of a star particle, as in CAMELS-TNG [Msun/h]."""
    satellite_mass: Positive = 1e9
    """Mean stellar mass of a satellite galaxy [Msun/h].

    This and the next five are chosen so that star maps agree with the real CAMELS pair in the
    fraction and the mean log mass of occupied pixels, at pixels of 98 and 195 kpc/h."""
    satellite_scatter: Positive = 1.8
    """Scatter of ln mass of satellite galaxies."""
    field_mass: Positive = 7e7
    """Mean stellar mass of a galaxy outside haloes at A_star = 0.06 [Msun/h]."""
    field_scatter: Positive = 1.8
    """Scatter of ln mass of galaxies outside haloes."""
    field_galaxies_per_mass: Positive = 1e-11
    """Most galaxies outside haloes per matter mass, reached in dense places [h/Msun]."""
    small_galaxy_radius: Positive = 0.018
    """Radius (standard deviation of each coordinate) of satellite and field galaxies [Mpc/h]."""
    relaxation_amplitude: Annotated[float, Field(ge=0)] = 0.3
    """Amplitude a of the relaxation r_f / r_i = 1 + a [(M_i / M_f)^2 - 1]."""
    scatter_log10_mc: Annotated[float, Field(ge=0)] = 0.25
    """Scatter of log10 Mc from halo to halo [dex] (all scatters are scaled by s_scatter)."""
    scatter_ln_star: Annotated[float, Field(ge=0)] = 0.39
    """Scatter of ln f_* (0.17 dex)."""
    scatter_ln_ejection: Annotated[float, Field(ge=0)] = 0.2
    """Scatter of ln theta_ej."""
    gas_star_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.4
    """Correlation of ln f_* with log10 Mc: strong feedback goes with many stars."""
    anisotropy: Annotated[float, Field(ge=0)] = 0.35
    """Amplitude of the bipolar ejection of gas."""
    gas_offset: Annotated[float, Field(ge=0)] = 0.06
    """Offset of the gas from the dark matter [R200c]."""
    chaotic_shift: Annotated[float, Field(ge=0)] = 0.04
    """Amplitude of the random displacement field that dark matter and gas share [R200c]."""
    clumping: Annotated[float, Field(ge=0)] = 0.30
    """Amplitude of the lognormal clumping of the gas."""


class UniverseConfig(BaseModel):
    """A set of boxes with many hydrodynamic draws each, cut out around their haloes.

    Lengths are comoving Mpc/h, masses Msun/h; the fields are at redshift 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    preset: str = "custom"
    """Name of the preset that this configuration started from (a label)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random number of the universe."""

    design: Literal["sobol", "1P", "CV"] = "sobol"
    """What is varied: all parameters together (``sobol``), one at a time with the same phases
    (``1P``), or the phases alone (``CV``)."""
    n_train_boxes: Natural = 8
    """Boxes of the training split."""
    n_validation_boxes: Natural = 1
    """Boxes of the validation split."""
    n_test_boxes: Natural = 1
    """Boxes of the test split."""
    n_draws: Count = 12
    """Astrophysical parameter vectors per box; the sets 1P and CV have their own, and refuse it."""
    n_test_realizations: Count = 2
    """Independent draws at the same parameters in the test split; other splits have one."""
    n_projections: Annotated[int, Field(ge=1, le=3)] = 3
    """Projections of each draw: draw j takes the axes j, j + 1, ... (modulo 3)."""

    boxsize: Positive = 50.0
    """Side of a box [Mpc/h]."""
    n_particles: Annotated[int, Field(ge=8)] = 128
    """Particles along each side of a box."""
    n_mesh: Annotated[int, Field(ge=8)] = 192
    """Cells of the force mesh along each side: 1.3 to 1.7 times n_particles. At exactly twice, the
    particles' lattice resonates with the mesh and linear modes grow 4-14% too much."""
    n_steps: Count = 25
    """Time steps, uniform in the scale factor."""
    initial_redshift: Positive = 19.0
    """Redshift of the initial conditions."""

    omega_m: Range = (0.2, 0.4)
    """Range of the matter density Omega_m."""
    sigma_8: Range = (0.65, 0.95)
    """Range of sigma_8."""
    omega_b: Positive = 0.049
    """Baryon density Omega_b."""
    hubble: Positive = 0.6711
    """Hubble constant h [100 km/s/Mpc]."""
    spectral_index: Positive = 0.9624
    """Spectral index n_s."""
    log10_mc: Range = (11.5, 13.5)
    """Range of log10 Mc, the mass below which haloes lose their gas [Msun/h]."""
    theta_ej: Range = (2.5, 6.0)
    """Range of the ejection radius [R200c]."""
    a_star: Range = (0.03, 0.12)
    """Range of the stellar amplitude A_star, uniform in its logarithm."""
    s_scatter: Range = (0.5, 1.5)
    """Range of the factor that scales the latent scatter of haloes."""

    min_halo_mass: Positive = 1e13
    """Least M200c of a halo that is cut out [Msun/h]."""
    min_displaced_mass: Positive = 3e12
    """Least mass in 80 times the critical density of a halo that gets baryons [Msun/h]."""
    concentration: Positive = 4.9
    """Mean concentration c200c at 10^13 Msun/h."""
    concentration_slope: float = -0.085
    """d ln c / d ln M (Duffy et al. 2008)."""
    concentration_scatter: Annotated[float, Field(ge=0)] = 0.13
    """Lognormal scatter of the concentration [dex]."""
    baryons: BaryonConfig = BaryonConfig()
    """Fixed constants of the baryon model."""

    n_pixels: Annotated[int, Field(ge=4)] = 64
    """Pixels along each side of a cutout."""
    field_of_view: Positive = 6.25
    """Width of a cutout [Mpc/h]."""
    n_scales: Count = 4
    """Condition maps: the field of view, then each twice as wide."""
    oversampling: Count = 2
    """Cells of the projected map along each side of a pixel."""

    @model_validator(mode="after")
    def _check(self) -> UniverseConfig:
        for name in ("omega_m", "sigma_8", "log10_mc", "theta_ej", "a_star", "s_scatter"):
            low, high = getattr(self, name)
            if not (0 < low <= high or (name == "s_scatter" and 0 <= low <= high)):
                raise ValueError(f"{name}: expected 0 < low <= high, found {low}, {high}")
        if not self.n_boxes:
            raise ValueError("expected at least one box, found none in any split")
        if self.design == "1P" and self.n_boxes != N_BOXES_1P:
            raise ValueError(
                f"the design 1P has {N_BOXES_1P} boxes, found {self.n_boxes} in the three splits"
            )
        splits = (self.n_train_boxes, self.n_validation_boxes, self.n_test_boxes)
        if self.design == "1P" and max(splits) < N_BOXES_1P:
            raise ValueError(
                "the boxes of the design 1P share their random phases, so that all must be in one "
                f"split: set one of n_train_boxes, n_validation_boxes, n_test_boxes to "
                f"{N_BOXES_1P} and the others to 0, found {', '.join(map(str, splits))}"
            )
        # the default is no choice: a file's copy of the configuration holds every field
        default = type(self).model_fields["n_draws"].default
        if self.design != "sobol" and self.n_draws != default:
            raise ValueError(
                f"n_draws = {self.n_draws}: the design {self.design} has draws of its own; leave "
                "n_draws out, or use the design sobol"
            )
        if self.omega_m[0] <= self.omega_b or self.omega_m[1] > 1:
            raise ValueError(
                f"omega_m: expected omega_b < omega_m <= 1, found {self.omega_m} with omega_b = "
                f"{self.omega_b}"
            )
        if self.min_halo_mass < self.min_displaced_mass:
            raise ValueError(
                f"min_halo_mass = {self.min_halo_mass:.3g} must not be smaller than "
                f"min_displaced_mass = {self.min_displaced_mass:.3g}: lighter haloes get no baryons"
            )
        if self.n_mesh < self.n_particles:
            raise ValueError(
                f"n_mesh = {self.n_mesh} must not be smaller than n_particles = {self.n_particles}"
            )
        if self.scales[-1] > self.boxsize * (1 + 1e-9):
            raise ValueError(
                f"the widest condition map, field_of_view * 2**(n_scales - 1) = {self.scales[-1]} "
                f"Mpc/h, must fit into boxsize = {self.boxsize} Mpc/h"
            )
        cells = self.boxsize / self.field_of_view * self.n_pixels
        if abs(cells - round(cells)) > 1e-6:
            raise ValueError(
                "boxsize must hold a whole number of pixels: boxsize / field_of_view * n_pixels "
                f"= {cells}"
            )
        return self

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> UniverseConfig:
        """Configuration of a preset, with some fields replaced.

        Parameters
        ----------
        name
            One of `PRESETS`.
        **overrides
            Fields of this class.

        Raises
        ------
        ValueError
            If the preset is unknown or a field is not valid (pydantic's ValidationError).
        """
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}")
        fields = {"preset": name, **_PRESETS[name], **overrides}
        if fields.get("design", "sobol") != "sobol" and "n_draws" not in overrides:
            fields.pop("n_draws", None)  # only the preset's own design has as many
        return cls(**fields)

    @property
    def n_boxes(self) -> int:
        """Boxes of all splits together."""
        return self.n_train_boxes + self.n_validation_boxes + self.n_test_boxes

    @property
    def scales(self) -> tuple[float, ...]:
        """Widths of the condition maps [Mpc/h]."""
        return tuple(self.field_of_view * 2**k for k in range(self.n_scales))

    @property
    def n_map(self) -> int:
        """Cells along each side of a projected map of the whole box."""
        return round(self.boxsize / self.field_of_view * self.n_pixels) * self.oversampling

    def split_of(self, box: int) -> int:
        """Split of a box, as index into `SPLITS`: training boxes come first, test boxes last."""
        counts = (self.n_train_boxes, self.n_validation_boxes, self.n_test_boxes)
        for split in range(len(SPLITS)):
            if box < sum(counts[: split + 1]):
                return split
        raise IndexError(f"box {box} of {self.n_boxes}")

    def n_realizations(self, box: int) -> int:
        """Independent draws at the same parameters in a box."""
        return self.n_test_realizations if SPLITS[self.split_of(box)] == "test" else 1

    def fingerprint(self) -> str:
        """Short hash of everything that decides the content of the files (not the label).

        Values at their defaults do not count, so that a new setting, whose default changes nothing,
        leaves the files of all universes valid.
        """
        content = self.model_dump(mode="json", exclude={"preset"}, exclude_defaults=True)
        text = json.dumps([UNIVERSE_VERSION, content], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_PRESETS: dict[str, dict[str, Any]] = {
    "ci": {
        "n_train_boxes": 2,
        "n_draws": 2,
        "n_particles": 48,
        "n_mesh": 72,
        "n_steps": 10,
        "n_pixels": 16,
    },
    "quickstart": {
        "n_draws": 12,
        "n_particles": 96,
        "n_mesh": 160,
        "n_steps": 20,
        "n_pixels": 32,
    },
    "default": {"n_train_boxes": 10, "n_test_boxes": 2, "n_draws": 20, "n_projections": 1},
    "large": {
        "n_train_boxes": 32,
        "n_validation_boxes": 4,
        "n_test_boxes": 4,
        "n_draws": 20,
        "n_projections": 1,
    },
    "1P": {
        "design": "1P",
        "n_train_boxes": 0,
        "n_validation_boxes": 0,
        "n_test_boxes": N_BOXES_1P,
        "n_test_realizations": 1,
    },
    "CV": {
        "design": "CV",
        "n_train_boxes": 0,
        "n_validation_boxes": 0,
        "n_test_boxes": 27,
        "n_test_realizations": 1,
    },
}

#: Names of the ready-made universes, from seconds to hours of computing.
PRESETS = tuple(_PRESETS)
