# SPDX-License-Identifier: MPL-2.0
"""Sends the rows of one clock with pylsl: sample n carries n and is due at t0 + n / rate.

Arguments: the clock's name, the seconds to play. Says "ready" on stdout and ends by itself.
"""

from __future__ import annotations

import heapq
import random
import select
import sys

import pylsl
from rows import ROWS, Row

# Until everybody is connected.
LEAD = 6.0


class Sender:
    """The outlet of one row."""

    def __init__(self, row: Row, t0: float) -> None:
        self.row = row
        self.t0 = t0
        self.noise = random.Random(row.name)
        info = pylsl.StreamInfo(
            row.name, "Timing", 1, row.rate, pylsl.cf_double64, f"timing-{row.name}"
        )
        info.desc().append_child_value("t0", repr(t0))
        self.outlet = pylsl.StreamOutlet(info)
        self.next = 0

    def due(self) -> float:
        """When the next packet is sent, on this process's LSL clock."""
        since = (self.next + self.row.packet - 1) / self.row.rate
        late = self.row.late
        if late is not None and late[0] <= since < late[1]:
            since = late[1]
        # After its stamp, which has jitter.
        return self.t0 + since + 3 * self.row.jitter

    def send(self) -> None:
        row, first = self.row, self.next
        self.next += row.packet
        last = (self.next - 1) / row.rate
        if row.lost is not None and row.lost[0] <= last < row.lost[1]:
            return
        stamp = self.t0 + last + self.noise.gauss(0.0, row.jitter)
        if row.late is not None and row.late[0] <= last < row.late[1]:
            stamp = pylsl.local_clock()
        samples = [[float(n)] for n in range(first, self.next)]
        # liblsl gives the samples before the last one their stamps by the rate.
        self.outlet.push_chunk(samples, stamp)


def main() -> None:
    clock, seconds = sys.argv[1], float(sys.argv[2])
    t0 = pylsl.local_clock() + LEAD
    senders = [Sender(row, t0) for row in ROWS if row.clock == clock]
    print("ready", flush=True)
    queue = [(s.due(), i) for i, s in enumerate(senders)]
    heapq.heapify(queue)
    while queue and queue[0][0] < t0 + seconds:
        due, i = queue[0]
        # A relative wait: absolute ones do not know of a clock that drifts.
        select.select([], [], [], max(0.0, due - pylsl.local_clock()))
        senders[i].send()
        heapq.heapreplace(queue, (senders[i].due(), i))
    select.select([], [], [], 2.0)


if __name__ == "__main__":
    main()
