# SPDX-License-Identifier: MPL-2.0
"""Readers: each turns a published data set into `Recording`s (or, for single faces, arrays)."""

from .recording import DataError, Recording, Segment, Signal, UnitTrack

__all__ = ["DataError", "Recording", "Segment", "Signal", "UnitTrack"]
