"""``python -m halo_cm`` is ``halo-cm``."""

from halo_cm.cli import main

if __name__ == "__main__":
    main()
