// SPDX-License-Identifier: MPL-2.0
//! A ring of tokens.

/// The tokens of the newest chunks of one stream, so that no chunk is encoded twice.
///
/// ```
/// // Windows of two chunks, with one token of three values for each chunk.
/// let mut ring = conditioning::TokenRing::new(2, 1, 3);
/// ring.store(0, Some(&[1.0, 2.0, 3.0]));
/// ring.store(1, None);
/// assert!(ring.knows(1));
/// let (mut values, mut valid) = ([9.0; 6], [9.0; 2]);
/// ring.window(2, &mut values, &mut valid);
/// assert_eq!(values, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
/// assert_eq!(valid, [1.0, 0.0]);
/// ```
#[derive(Debug, Clone)]
pub struct TokenRing {
    /// Values per chunk: tokens × width.
    length: usize,
    tokens: usize,
    chunks: Vec<Slot>,
    values: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Slot {
    Unknown,
    Empty(u64),
    Encoded(u64),
}

impl TokenRing {
    /// Bytes that a ring made by [`TokenRing::new`] with these numbers takes.
    pub fn bytes(chunks: usize, tokens: usize, width: usize) -> u64 {
        let values = (tokens as u64)
            .saturating_mul(width as u64)
            .saturating_mul(4);
        let chunk = values.saturating_add(size_of::<Slot>() as u64);
        chunk.saturating_mul(chunks.max(1) as u64)
    }

    /// An empty ring for the newest `chunks` chunks (at least one), which is the length of a
    /// window, with `tokens` tokens of `width` values for each chunk.
    pub fn new(chunks: usize, tokens: usize, width: usize) -> Self {
        let chunks = chunks.max(1);
        let length = tokens * width;
        Self {
            length,
            tokens,
            chunks: vec![Slot::Unknown; chunks],
            values: vec![0.0; chunks * length],
        }
    }

    /// How many chunks it holds.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    fn slot(&self, chunk: u64) -> usize {
        (chunk % self.chunks.len() as u64) as usize
    }

    /// Whether [`TokenRing::store`] was called for this chunk and it is still in the ring.
    pub fn knows(&self, chunk: u64) -> bool {
        matches!(self.chunks[self.slot(chunk)], Slot::Empty(c) | Slot::Encoded(c) if c == chunk)
    }

    /// Stores the tokens of chunk number `chunk` (`[tokens, width]`). `None`, or another number
    /// of values: the chunk has no tokens.
    pub fn store(&mut self, chunk: u64, tokens: Option<&[f32]>) {
        let slot = self.slot(chunk);
        let place = &mut self.values[slot * self.length..][..self.length];
        match tokens {
            Some(tokens) if tokens.len() == place.len() => {
                place.copy_from_slice(tokens);
                self.chunks[slot] = Slot::Encoded(chunk);
            }
            _ => self.chunks[slot] = Slot::Empty(chunk),
        }
    }

    /// Copies the window that ends where chunk `end` begins, oldest chunk first, into `values`
    /// (`[chunks × tokens, width]`, 0 where there are no tokens) and `valid`
    /// (`[chunks × tokens]`, 1 or 0).
    pub fn window(&self, end: u64, values: &mut [f32], valid: &mut [f32]) {
        let count = self.chunks.len() as u64;
        let places = values
            .chunks_exact_mut(self.length)
            .zip(valid.chunks_exact_mut(self.tokens));
        for (i, (row, flags)) in places.enumerate() {
            let chunk = (end + i as u64).checked_sub(count);
            match chunk.map(|c| (c, self.slot(c))) {
                Some((c, slot)) if self.chunks[slot] == Slot::Encoded(c) => {
                    row.copy_from_slice(&self.values[slot * self.length..][..self.length]);
                    flags.fill(1.0);
                }
                _ => {
                    row.fill(0.0);
                    flags.fill(0.0);
                }
            }
        }
    }

    /// Empties the ring.
    pub fn clear(&mut self) {
        self.chunks.fill(Slot::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_the_ring_allocates() {
        for (chunks, tokens, width) in [(1, 1, 1), (60, 2, 32), (0, 3, 5)] {
            let ring = TokenRing::new(chunks, tokens, width);
            let bytes = ring.values.len() * 4 + ring.chunks.len() * size_of::<Slot>();
            assert_eq!(TokenRing::bytes(chunks, tokens, width), bytes as u64);
        }
        assert_eq!(TokenRing::bytes(usize::MAX, usize::MAX, 2), u64::MAX);
    }

    #[test]
    fn a_window_is_the_last_chunks_oldest_first() {
        let mut ring = TokenRing::new(3, 2, 1);
        for chunk in 0..5u64 {
            assert!(!ring.knows(chunk));
            let tokens = [chunk as f32, chunk as f32 + 0.5];
            ring.store(chunk, (chunk != 3).then_some(&tokens[..]));
            assert!(ring.knows(chunk));
        }
        let (mut values, mut valid) = ([9.0; 6], [9.0; 6]);
        ring.window(5, &mut values, &mut valid);
        assert_eq!(values, [2.0, 2.5, 0.0, 0.0, 4.0, 4.5]);
        assert_eq!(valid, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        // Nothing before time zero, and nothing that has been overwritten.
        ring.window(1, &mut values, &mut valid);
        assert_eq!(valid, [0.0; 6]);
    }
}
