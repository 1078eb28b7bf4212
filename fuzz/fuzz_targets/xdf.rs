// SPDX-License-Identifier: MPL-2.0
//! The XDF parser on anything: fed whole and in pieces it must not panic, and what it
//! reads must not depend on the pieces. The first byte chooses the size of the pieces.
//!
//!     RUSTC_BOOTSTRAP=1 cargo fuzz run xdf -- -max_total_time=60
#![no_main]

#[path = "../../tests/xdf_support/outcome.rs"]
mod outcome;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((&piece, data)) = data.split_first() {
        outcome::check(data, || usize::from(piece) + 1);
    }
});
