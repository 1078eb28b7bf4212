# SPDX-License-Identifier: MPL-2.0
"""Many LSL streams that come and go, and others with the names of the soak run's own."""

import sys
import time

import pylsl


def main() -> None:
    seconds, count = float(sys.argv[1]), int(sys.argv[2])
    outlets = []
    for i in range(count):
        info = pylsl.StreamInfo(f"crowd-{i}", "Crowd", 1, 10.0, "float32", f"crowd-{i}")
        outlets.append(pylsl.StreamOutlet(info))
    # A second sender of the same stream: the one that is open stays.
    for kind, rate in (("ECG", 128.0), ("PPG", 64.0), ("EDA", 8.0)):
        info = pylsl.StreamInfo(f"soak-{kind}", kind, 2, rate, "double64", f"soak-{kind}")
        outlets.append(pylsl.StreamOutlet(info))
    time.sleep(seconds)


if __name__ == "__main__":
    main()
