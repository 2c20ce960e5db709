"""A ``tsdiag`` command in a process of its own, with training that sleeps.

TSDIAG_STORAGE=URL python simulation/launch.py RECORDING SECONDS worker NAME ...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is loaded, as the command itself does it.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

from simulation.recording import read_recording
from simulation.replay import Pace, simulate

from tsdiag.cli.main import app

if __name__ == "__main__":
    file, seconds, *arguments = sys.argv[1:]
    simulate(read_recording(Path(file)), Pace(minutes=float(seconds) / 60))
    app(arguments)
