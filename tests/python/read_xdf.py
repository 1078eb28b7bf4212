# SPDX-License-Identifier: MPL-2.0
"""Prints what pyxdf reads of a recording, as JSON: stamps since the earliest, values."""

import json
import sys

import pyxdf

streams, _ = pyxdf.load_xdf(sys.argv[1], dejitter_timestamps=False)
streams = [s for s in streams if len(s["time_stamps"])]
origin = min(s["time_stamps"].min() for s in streams)
print(
    json.dumps(
        {
            s["info"]["name"][0]: {
                "stamps": (s["time_stamps"] - origin).tolist(),
                "values": [
                    list(v) if isinstance(v, list) else v.tolist()
                    for v in s["time_series"]
                ],
            }
            for s in streams
        }
    )
)
