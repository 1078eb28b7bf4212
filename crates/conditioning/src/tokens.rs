// SPDX-License-Identifier: MPL-2.0

/// The tokens of the last chunks of one stream.
#[derive(Debug, Clone)]
pub struct TokenRing {
    /// Numbers per chunk: tokens × width.
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
    /// Bytes that a ring of this size takes.
    pub fn bytes(chunks: usize, tokens: usize, width: usize) -> u64 {
        let values = (tokens as u64)
            .saturating_mul(width as u64)
            .saturating_mul(4);
        let chunk = values.saturating_add(size_of::<Slot>() as u64);
        chunk.saturating_mul(chunks.max(1) as u64)
    }

    /// Holds `chunks` chunks of `tokens` tokens of `width` numbers.
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

    /// Whether this chunk has been dealt with.
    pub fn knows(&self, chunk: u64) -> bool {
        matches!(self.chunks[self.slot(chunk)], Slot::Empty(c) | Slot::Encoded(c) if c == chunk)
    }

    /// Stores the tokens of `chunk` (`[tokens, width]`), or that it holds nothing to encode.
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

    /// Copies the window that ends before chunk `end` into `values`
    /// (`[chunks × tokens, width]`, zero where there is nothing) and `valid`
    /// (`[chunks × tokens]`). Oldest first, as many chunks as the ring holds.
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

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.chunks.fill(Slot::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_size_is_told() {
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
