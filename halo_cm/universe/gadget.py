"""Content of Arepo snapshots and SubFind catalogues made from a box, in the units of the files.

The layout is that of CAMELS (https://camels.readthedocs.io): comoving kpc/h, 1e10 Msun/h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from halo_cm.atomic import atomic_path
from halo_cm.data.cutouts import software_versions
from halo_cm.universe.baryons import HydroDraw
from halo_cm.universe.box import Box
from halo_cm.universe.haloes import particle_tree

#: Header attribute that tells files of different universes apart.
FINGERPRINT = "halo_cm_fingerprint"

#: kpc/h in Mpc/h, and Msun/h in the unit of mass of the files.
_KPC, _MASS_UNIT = 1e3, 1e10
_GAS, _DARK, _STARS, _N_TYPES = 0, 1, 4, 6
_UNITS = {
    "UnitLength_in_cm": 3.085678e21,
    "UnitMass_in_g": 1.989e43,
    "UnitVelocity_in_cm_per_s": 1e5,
}
#: What Arepo says of a dataset's units: powers of a, h and the units above, and the value in cgs.
_LENGTH = {"a_scaling": 1.0, "h_scaling": -1.0, "length_scaling": 1.0, "mass_scaling": 0.0}
_MASS = {"a_scaling": 0.0, "h_scaling": -1.0, "length_scaling": 0.0, "mass_scaling": 1.0}
_LENGTH |= {"velocity_scaling": 0.0, "to_cgs": _UNITS["UnitLength_in_cm"]}
_MASS |= {"velocity_scaling": 0.0, "to_cgs": _UNITS["UnitMass_in_g"]}
_DATASET_UNITS = {
    **dict.fromkeys(("Coordinates", "GroupPos", "Group_R_Crit200"), _LENGTH),
    **dict.fromkeys(("Masses", "GroupMass", "GroupMassType", "Group_M_Crit200"), _MASS),
}
_COMMENT = (
    "Made by the embedded universe of halo_cm. Particle positions and masses only: the "
    "displacement model has no velocities, temperatures, metals, black holes or subhaloes. The "
    "particles are not sorted by halo: GroupLenType counts those in a sphere, and is no offset."
)
#: h5py grows a file in memory by this much [bytes].
_BLOCK = 1 << 22

Groups = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Species:
    """Particles of one type in the units of the file (n particles).

    Attributes
    ----------
    coordinates
        Positions in [0, BoxSize) [kpc/h], shape (n, 3).
    masses
        Masses [1e10 Msun/h], shape (n,); one number if all are equal.
    first_id
        The particles are numbered from here on.
    n_near
        The first so many particles may lie in a halo, the others do not.
    """

    coordinates: NDArray[np.float32]
    masses: NDArray[np.float32] | float
    first_id: int
    n_near: int

    def __len__(self) -> int:
        return len(self.coordinates)

    def inside(
        self, centres: NDArray[np.floating], radii: NDArray[np.floating], boxsize: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Number and mass [1e10 Msun/h] of the particles in each sphere, shape (H,) each."""
        tree = particle_tree(self.coordinates[: self.n_near], boxsize)
        members = tree.query_ball_point(centres, radii)
        counts = np.array([len(index) for index in members], np.int32)
        if isinstance(self.masses, float):
            return counts, (counts * self.masses).astype(np.float32)
        masses = [self.masses[index].sum(dtype=np.float64) for index in members]
        return counts, np.array(masses, np.float32)


def dmo_particles(box: Box) -> dict[int, Species]:
    """Particles of the dark-matter-only run, by type."""
    matter = box.matter
    mass = matter.particle_mass / _MASS_UNIT
    return {_DARK: Species(_coordinates(box, matter.positions), mass, 1, matter.n_moving)}


def hydro_particles(box: Box, draw: HydroDraw) -> dict[int, Species]:
    """Particles of a hydrodynamic draw, by type.

    Dark matter has the ids of the dark-matter-only run; the gas particle that was drawn from the
    same particle has the id N higher.
    """
    matter = box.matter
    n, n_near, n_stars = matter.n_particles, matter.n_moving, len(draw.star_masses)
    field = matter.positions[n_near:]
    dark = _coordinates(box, np.concatenate([draw.dm_positions, field]))
    gas = _coordinates(box, np.concatenate([draw.gas_positions, field]))
    gas_masses = np.full(n, draw.field_gas_mass / _MASS_UNIT, np.float32)
    gas_masses[:n_near] = draw.gas_masses / np.float64(_MASS_UNIT)
    star_masses = (draw.star_masses / np.float64(_MASS_UNIT)).astype(np.float32)
    dark_mass = (1 - matter.baryon_fraction) * matter.particle_mass / _MASS_UNIT
    return {
        _GAS: Species(gas, gas_masses, n + 1, n_near),
        _DARK: Species(dark, dark_mass, 1, n_near),
        _STARS: Species(_coordinates(box, draw.star_positions), star_masses, 2 * n + 1, n_stars),
    }


def write_hdf5(path: Path, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a file of attributes (group ``Header``) and datasets (the other groups)."""
    # built in memory: HDF5 does not survive a full disk (it may even crash the process), while
    # writing plain bytes then fails with a plain error
    with h5py.File(path.name, "w", driver="core", backing_store=False, block_size=_BLOCK) as file:
        for group, content in groups.items():
            there = file.create_group(group)
            for name, value in content.items():
                if group == "Header":
                    there.attrs[name] = value
                else:
                    there[name] = value
                    there[name].attrs.update(_DATASET_UNITS.get(name, {}))
        file.flush()
        image = file.id.get_file_image()
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)


def snapshot(box: Box, species: Mapping[int, Species]) -> Groups:
    """Content of a snapshot."""
    counts, table = np.zeros(_N_TYPES, np.int64), np.zeros(_N_TYPES)
    groups: Groups = {}
    for kind, particles in species.items():
        counts[kind] = len(particles)
        last = particles.first_id + len(particles)
        # 32 bits as in CAMELS, unless a box is too large for them
        id_type = np.uint32 if last <= np.iinfo(np.uint32).max else np.uint64
        content: dict[str, Any] = {
            "Coordinates": particles.coordinates,
            "ParticleIDs": np.arange(particles.first_id, last, dtype=id_type),
        }
        if isinstance(particles.masses, float):
            table[kind] = particles.masses
        else:
            content["Masses"] = particles.masses
        if kind == _STARS:  # readers take stars with a time <= 0 for wind
            content["GFM_StellarFormationTime"] = np.ones(len(particles), np.float32)
        groups[f"PartType{kind}"] = content
    header = {
        "MassTable": table,
        "NumPart_ThisFile": counts,
        "NumPart_Total": (counts & 0xFFFFFFFF).astype(np.uint32),
        "NumPart_Total_HighWord": (counts >> 32).astype(np.uint32),
        "NumFilesPerSnapshot": 1,
    }
    return {"Header": {**header, **_common_header(box)}, **groups}


def catalogue(box: Box, species: Mapping[int, Species]) -> Groups:
    """Content of a group catalogue: the haloes of the dark-matter-only run in both runs."""
    haloes, boxsize = box.matter.haloes, box.config.boxsize * _KPC
    centres = _coordinates(box, haloes.position)
    lengths = np.zeros((len(haloes), _N_TYPES), np.int32)
    masses = np.zeros((len(haloes), _N_TYPES), np.float32)
    for kind, particles in species.items():
        inside = particles.inside(centres, haloes.r80 * _KPC, boxsize)
        lengths[:, kind], masses[:, kind] = inside
    header = {
        "Ngroups_ThisFile": len(haloes),
        "Ngroups_Total": len(haloes),
        "Nsubgroups_ThisFile": 0,
        "Nsubgroups_Total": 0,
        "NumFiles": 1,
    }
    groups = {
        "GroupPos": centres,
        "GroupMass": (haloes.m80 / _MASS_UNIT).astype(np.float32),
        "GroupLen": lengths.sum(1, dtype=np.int32),
        "GroupLenType": lengths,
        "GroupMassType": masses,
        "Group_M_Crit200": (haloes.m200 / _MASS_UNIT).astype(np.float32),
        "Group_R_Crit200": (haloes.r200 * _KPC).astype(np.float32),
    }
    return {"Header": {**header, **_common_header(box)}, "Group": groups}


def _common_header(box: Box) -> dict[str, Any]:
    """Header attributes that snapshots and catalogues share."""
    config, cosmology = box.config, box.plan.cosmology
    return {
        "BoxSize": config.boxsize * _KPC,
        "Redshift": 0.0,
        "Time": 1.0,
        "HubbleParam": cosmology.hubble,
        "Omega0": cosmology.omega_m,
        "OmegaLambda": 1 - cosmology.omega_m,
        "OmegaBaryon": cosmology.omega_b,
        **_UNITS,
        "Comment": _COMMENT,
        FINGERPRINT: config.fingerprint(),
        "halo_cm_box": box.index,
        "halo_cm_universe": config.model_dump_json(),
        **software_versions(),
    }


def _coordinates(box: Box, positions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Positions [kpc/h] in [0, BoxSize) of positions [Mpc/h], shape (n, 3)."""
    boxsize = box.config.boxsize * _KPC
    scaled = positions.astype(np.float64)
    scaled *= _KPC
    scaled %= boxsize
    coordinates = scaled.astype(np.float32)
    coordinates[coordinates >= boxsize] = 0  # those that only rounding puts at the upper end
    return coordinates
