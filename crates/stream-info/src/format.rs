// SPDX-License-Identifier: MPL-2.0
use std::fmt;

/// What one channel of one sample is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F32,
    F64,
    Text,
    I32,
    I16,
    I8,
    I64,
}

impl Format {
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

    /// Bytes of one value; 0 for text.
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
