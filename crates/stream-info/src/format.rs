// SPDX-License-Identifier: MPL-2.0
use std::fmt;

/// The type of one value; all channels of a stream have the same. [`Display`](fmt::Display)
/// writes it as LSL does, `float32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
    /// UTF-8 text of any length.
    Text,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Signed 64-bit integer.
    I64,
}

impl Format {
    /// The format with this number in liblsl (`lsl_channel_format_t`); `None` for others.
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::F32,
            2 => Self::F64,
            3 => Self::Text,
            4 => Self::I32,
            5 => Self::I16,
            6 => Self::I8,
            7 => Self::I64,
            _ => return None,
        })
    }

    /// The number of this format in liblsl.
    pub fn code(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::F64 => 2,
            Self::Text => 3,
            Self::I32 => 4,
            Self::I16 => 5,
            Self::I8 => 6,
            Self::I64 => 7,
        }
    }

    /// Size of one value in bytes; 0 for text.
    pub fn size(self) -> usize {
        match self {
            Self::Text => 0,
            Self::I8 => 1,
            Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F64 => "double64",
            Self::Text => "string",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::I64 => "int64",
        })
    }
}
