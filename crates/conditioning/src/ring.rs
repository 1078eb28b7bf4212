// SPDX-License-Identifier: MPL-2.0
//! A ring of grid points.

/// The newest points of a grid, each a vector of `width` values or empty.
///
/// ```
/// let mut ring = conditioning::GridRing::new(1, 100);
/// ring.push(0, Some(&[0.5]));
/// ring.push(2, Some(&[1.5]));
/// let (mut values, mut valid) = ([9.0; 4], [9.0; 4]);
/// assert_eq!(ring.copy(-1, &mut values, &mut valid), 2);
/// assert_eq!(values, [0.0, 0.5, 0.0, 1.5]);
/// assert_eq!(valid, [0.0, 1.0, 0.0, 1.0]);
/// ```
#[derive(Debug, Clone)]
pub struct GridRing {
    width: usize,
    capacity: u64,
    /// The point after the newest.
    end: u64,
    values: Vec<f32>,
    valid: Vec<bool>,
}

impl GridRing {
    /// Bytes that a ring for `capacity` points of `width` values takes.
    pub fn bytes(width: usize, capacity: usize) -> u64 {
        let point = (width as u64).saturating_mul(4).saturating_add(1);
        point.saturating_mul(capacity.max(1) as u64)
    }

    /// An empty ring for the newest `capacity` points (at least one) of `width` values.
    pub fn new(width: usize, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            width,
            capacity: capacity as u64,
            end: 0,
            values: vec![0.0; width * capacity],
            valid: vec![false; capacity],
        }
    }

    /// Empties the ring; the next point may have any index.
    pub fn clear(&mut self) {
        self.end = 0;
        self.valid.fill(false);
    }

    /// The index after the newest point.
    pub fn end(&self) -> u64 {
        self.end
    }

    fn slot(&self, k: u64) -> usize {
        (k % self.capacity) as usize
    }

    /// The points of `first..first + n` that are in the ring, as at most two runs of adjacent
    /// slots: offset from `first`, first slot, length.
    fn runs(&self, first: i64, n: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let oldest = self.end.saturating_sub(self.capacity) as i64;
        let start = first.max(oldest);
        let stop = (first + n as i64).min(self.end as i64).max(start);
        let length = (stop - start) as usize;
        let (offset, slot) = ((start - first) as usize, self.slot(start.max(0) as u64));
        let before_wrap = length.min(self.capacity as usize - slot);
        [
            (offset, slot, before_wrap),
            (offset + before_wrap, 0, length - before_wrap),
        ]
        .into_iter()
        .filter(|(_, _, length)| *length > 0)
    }

    /// Puts point `k`: `width` values, or `None` for an empty point. Points between the newest
    /// one and `k` become empty. A `k` that is not newer is ignored.
    pub fn push(&mut self, k: u64, values: Option<&[f32]>) {
        if k < self.end {
            return;
        }
        for skipped in self.end.max(k.saturating_sub(self.capacity))..k {
            let slot = self.slot(skipped);
            self.valid[slot] = false;
        }
        let slot = self.slot(k);
        self.valid[slot] = values.is_some();
        if let Some(values) = values {
            self.values[slot * self.width..][..self.width].copy_from_slice(values);
        }
        self.end = k + 1;
    }

    /// Copies `n` points from index `first` on (negative: before time 0) into `values`
    /// (`[n, width]`, 0 where a point is empty or not in the ring) and `valid` (`[n]`, 1 or 0).
    /// `valid` gives `n`. Returns the number of points that are not empty.
    pub fn copy(&self, first: i64, values: &mut [f32], valid: &mut [f32]) -> usize {
        values.fill(0.0);
        valid.fill(0.0);
        let mut count = 0;
        for (offset, slot, length) in self.runs(first, valid.len()) {
            for i in (0..length).filter(|i| self.valid[slot + i]) {
                let (to, from) = ((offset + i) * self.width, (slot + i) * self.width);
                values[to..][..self.width].copy_from_slice(&self.values[from..][..self.width]);
                valid[offset + i] = 1.0;
                count += 1;
            }
        }
        count
    }

    /// How many of the `n` points from index `first` on are in the ring and not empty.
    pub fn count(&self, first: i64, n: usize) -> usize {
        self.runs(first, n)
            .map(|(_, slot, length)| {
                let run = &self.valid[slot..][..length];
                run.iter().filter(|valid| **valid).count()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_points_are_kept_and_the_others_empty() {
        let mut ring = GridRing::new(2, 4);
        for k in [0, 1, 2, 5, 6] {
            ring.push(k, Some(&[k as f32, -(k as f32)]));
        }
        ring.push(7, None);
        ring.push(3, Some(&[99.0, 99.0]));
        let (mut values, mut valid) = ([7.0; 16], [7.0; 8]);
        assert_eq!(ring.copy(1, &mut values, &mut valid), 2);
        assert_eq!(valid, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(values[8..12], [5.0, -5.0, 6.0, -6.0]);
        assert_eq!(values[..8], [0.0; 8]);
        assert_eq!(ring.count(1, 8), 2);
    }

    /// Compares every request around a ring that has wrapped with the definition.
    #[test]
    fn every_request_gets_what_is_in_the_ring() {
        for end in [0u64, 1, 4, 5, 7, 13] {
            let mut ring = GridRing::new(1, 5);
            for k in 0..end {
                ring.push(k, (k % 3 != 1).then_some(&[k as f32 + 1.0]));
            }
            for first in -4..16i64 {
                for n in 0..9usize {
                    let want: Vec<f32> = (first..first + n as i64)
                        .map(|k| {
                            let held = k >= 0 && k < end as i64 && k + 5 >= end as i64;
                            if held && k % 3 != 1 {
                                k as f32 + 1.0
                            } else {
                                0.0
                            }
                        })
                        .collect();
                    let (mut values, mut valid) = (vec![9.0; n], vec![9.0; n]);
                    let count = ring.copy(first, &mut values, &mut valid);
                    assert_eq!(values, want, "end {end}, first {first}");
                    assert_eq!(count, want.iter().filter(|v| **v > 0.0).count());
                    assert_eq!(count, ring.count(first, n));
                    assert!(
                        valid
                            .iter()
                            .zip(&want)
                            .all(|(f, w)| (*f > 0.0) == (*w > 0.0))
                    );
                }
            }
        }
    }

    #[test]
    fn bytes_are_what_the_ring_allocates() {
        for (width, capacity) in [(1, 1), (3, 7), (52, 451), (0, 0)] {
            let ring = GridRing::new(width, capacity);
            let bytes = ring.values.len() * 4 + ring.valid.len();
            assert_eq!(GridRing::bytes(width, capacity), bytes as u64);
        }
        assert_eq!(GridRing::bytes(usize::MAX, usize::MAX), u64::MAX);
    }

    #[test]
    fn points_before_time_zero_are_empty() {
        let mut ring = GridRing::new(1, 8);
        ring.push(0, Some(&[4.0]));
        let (mut values, mut valid) = ([1.0; 4], [1.0; 4]);
        assert_eq!(ring.copy(-2, &mut values, &mut valid), 1);
        assert_eq!(values, [0.0, 0.0, 4.0, 0.0]);
        assert_eq!(ring.count(-2, 4), 1);
    }
}
