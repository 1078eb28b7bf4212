// SPDX-License-Identifier: MPL-2.0

/// The execution provider that a session shall use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// TensorRT, else CUDA, else CPU; every step down is told.
    #[default]
    Auto,
    TensorRt,
    Cuda,
    Cpu,
}
