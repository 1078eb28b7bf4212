// SPDX-License-Identifier: MPL-2.0
//! Caps, tags and events of an LSL stream, the same for every element.

pub(crate) mod caps;
pub(crate) mod events;
