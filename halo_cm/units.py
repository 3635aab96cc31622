"""Internal units and the constants that tie them together.

Lengths are comoving Mpc/h, masses Msun/h, wavenumbers h/Mpc, fields mass per pixel in Msun/h.
Conversion from other units happens only where files are read or written.
"""

from __future__ import annotations

#: Critical density today, 3 H0^2 / (8 pi G), in (Msun/h) / (Mpc/h)^3 (G and Msun of IAU 2015).
RHO_CRITICAL = 2.77536627e11

#: Channels of every hydrodynamic field, in this order.
CHANNELS = ("dm", "gas", "star")
