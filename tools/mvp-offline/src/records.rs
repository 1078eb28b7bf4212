// SPDX-License-Identifier: MPL-2.0
//! Recordings as little-endian records: a time in nanoseconds (u64), then numbers (f64).

use crate::error::Failure;
use std::io::Read;
use std::path::Path;

/// Largest time of a record, ns. A grid begins at 0, so times that count from 1970 would make a
/// huge one.
const LONGEST: u64 = 48 * 3600 * 1_000_000_000;

/// Records of `columns` values each.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    times: Vec<u64>,
    values: Vec<f64>,
    columns: usize,
}

impl Records {
    /// Reads `source` to its end; `name` is its name in error texts.
    pub(crate) fn read(mut source: impl Read, name: &str, columns: usize) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        source
            .read_to_end(&mut bytes)
            .map_err(Failure::io(name.to_string()))?;
        let size = 8 * (columns + 1);
        if bytes.len() % size != 0 {
            return Err(Failure::Input(format!(
                "{name}: expected records of {size} bytes (time in nanoseconds as u64, {columns} \
                 × f64, little-endian), found {} bytes, which is {} and {} over; write whole records",
                bytes.len(),
                bytes.len() / size,
                bytes.len() % size,
            )));
        }
        let mut records = Self {
            times: Vec::with_capacity(bytes.len() / size),
            values: Vec::with_capacity(bytes.len() / size * columns),
            columns,
        };
        for record in bytes.chunks_exact(size) {
            let mut words = record.chunks_exact(8).map(|w| {
                let mut own = [0; 8];
                own.copy_from_slice(w);
                own
            });
            let time = words.next().map_or(0, u64::from_le_bytes);
            if time > LONGEST {
                return Err(Failure::Input(format!(
                    "{name}: record {} is at {time} ns, expected at most {LONGEST} (48 hours); \
                     count times from the recording's start",
                    records.times.len(),
                )));
            }
            records.times.push(time);
            records.values.extend(words.map(f64::from_le_bytes));
        }
        Ok(records)
    }

    /// Reads a file.
    pub(crate) fn open(path: &Path, columns: usize) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(Failure::io(name.clone()))?;
        Self::read(file, &name, columns)
    }

    /// Time (ns) and values of record `i`.
    pub(crate) fn get(&self, i: usize) -> Option<(u64, &[f64])> {
        let time = *self.times.get(i)?;
        Some((time, &self.values[i * self.columns..][..self.columns]))
    }

    /// Time (ns) and values of each record.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[f64])> {
        self.times
            .iter()
            .copied()
            .zip(self.values.chunks_exact(self.columns))
    }

    /// The latest time, ns; `None` without records.
    pub(crate) fn last(&self) -> Option<u64> {
        self.times.iter().copied().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_a_part_of_one_is_refused() {
        let mut bytes = 7u64.to_le_bytes().to_vec();
        for v in [1.5f64, f64::NAN] {
            bytes.extend(v.to_le_bytes());
        }
        let records = Records::read(&bytes[..], "x", 2).expect("one record");
        let (time, values) = records.get(0).expect("first");
        assert_eq!((time, values[0], values[1].is_nan()), (7, 1.5, true));
        assert_eq!((records.get(1), records.last()), (None, Some(7)));
        let told = Records::read(&bytes[..23], "x", 2).expect_err("a part");
        assert!(told.to_string().contains("24 bytes"), "{told}");
    }

    #[test]
    fn times_that_count_from_1970_are_refused() {
        let mut bytes = 1_700_000_000_000_000_000u64.to_le_bytes().to_vec();
        bytes.extend(1f64.to_le_bytes());
        let told = Records::read(&bytes[..], "stdin", 1).expect_err("1970");
        assert!(told.to_string().contains("recording's start"), "{told}");
    }
}
