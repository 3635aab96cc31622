"""Parts of `halo_cm.generate`: the zarr store, shards of a job array, worker processes."""
