#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""mne-lsl's player as a foreign peer: sample n of channel c is n + 20000 c.

Arguments: stream name, source id. Says "ready" on stdout; ends when stdin closes.
"""

import os
import sys
import tempfile

import mne
import numpy as np
from mne_lsl.player import PlayerLSL

RATE = 200.0
SAMPLES = 4000


def main():
    name, source_id = sys.argv[1:3]
    n = np.arange(SAMPLES, dtype=float)
    info = mne.create_info(["one", "two"], RATE, "misc")
    raw = mne.io.RawArray(np.stack([n, n + 20000]), info, verbose="error")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "known_raw.fif")
        raw.save(path, fmt="double", verbose="error")
        player = PlayerLSL(
            path, chunk_size=16, n_repeat=1, name=name, source_id=source_id
        )
        player.start()
        print("ready", flush=True)
        sys.stdin.read()
        if player.running:
            player.stop()


if __name__ == "__main__":
    main()
