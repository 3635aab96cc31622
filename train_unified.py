"""Train a model and benchmark it: ``python train_unified.py --model consistency``.

The same function as ``halo-cm train``; ``--help`` lists the options.
"""

from halo_cm.cli import train_main

if __name__ == "__main__":
    train_main()
