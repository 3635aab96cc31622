"""The embedded universe: paired dark-matter-only and hydrodynamic boxes made from a seed."""
