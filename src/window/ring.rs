// SPDX-License-Identifier: MPL-2.0

/// The last values on a grid, each a vector of `width` numbers or nothing.
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
    /// Holds the last `capacity` points of `width` values.
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

    /// The point after the newest one that was pushed.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.end = 0;
        self.valid.fill(false);
    }

    fn slot(&self, k: u64) -> usize {
        (k % self.capacity) as usize
    }

    fn holds(&self, k: u64) -> bool {
        k < self.end && k + self.capacity >= self.end
    }

    /// Puts point `k`; points that were passed over are empty, older ones are ignored.
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

    /// Copies the points from `first` (negative: before time zero) into `values`
    /// (`[n, width]`, zero where there is nothing) and `valid` (`[n]`, 1 or 0).
    /// Returns how many are there.
    pub fn copy(&self, first: i64, values: &mut [f32], valid: &mut [f32]) -> usize {
        let mut count = 0;
        let rows = values.chunks_exact_mut(self.width).zip(valid.iter_mut());
        for (i, (row, flag)) in rows.enumerate() {
            let at = u64::try_from(first + i as i64)
                .ok()
                .filter(|k| self.holds(*k));
            match at.map(|k| self.slot(k)).filter(|s| self.valid[*s]) {
                Some(slot) => {
                    row.copy_from_slice(&self.values[slot * self.width..][..self.width]);
                    *flag = 1.0;
                    count += 1;
                }
                None => {
                    row.fill(0.0);
                    *flag = 0.0;
                }
            }
        }
        count
    }

    /// How many of the `n` points from `first` hold a value.
    pub fn count(&self, first: i64, n: usize) -> usize {
        let start = first.max(0) as u64;
        let stop = (first + n as i64).max(0) as u64;
        (start..stop)
            .filter(|k| self.holds(*k) && self.valid[self.slot(*k)])
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_knows_the_holes() {
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

    #[test]
    fn before_time_zero_there_is_nothing() {
        let mut ring = GridRing::new(1, 8);
        ring.push(0, Some(&[4.0]));
        let (mut values, mut valid) = ([1.0; 4], [1.0; 4]);
        assert_eq!(ring.copy(-2, &mut values, &mut valid), 1);
        assert_eq!(values, [0.0, 0.0, 4.0, 0.0]);
        assert_eq!(ring.count(-2, 4), 1);
    }
}
