// SPDX-License-Identifier: MPL-2.0
//! What tests with spoiled files share: how many, and the same ones in every run.
#![allow(dead_code)]

pub(crate) mod memory;

use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};

/// How many files: `usual`, or what the variable says (`scripts/hostile.sh`).
pub(crate) fn rounds(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
        Err(_) => usual,
    }
}

/// Numbers from 0 to less than the argument, the same in every run.
pub(crate) fn random() -> impl FnMut(usize) -> usize {
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    move |n| (rng.next_u64() % n as u64) as usize
}

/// Runs `f`; when it panics, keeps the file for a look and says where.
pub(crate) fn keeping<T>(name: &str, round: usize, bytes: &[u8], f: impl FnOnce() -> T) -> T {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(value) => value,
        Err(panic) => {
            let at = std::env::temp_dir().join(name);
            std::fs::write(&at, bytes).expect("write");
            eprintln!("round {round}; the file is {}", at.display());
            std::panic::resume_unwind(panic);
        }
    }
}
