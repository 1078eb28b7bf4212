// SPDX-License-Identifier: MPL-2.0
//! Looks through an ONNX file, without ONNX Runtime, for anything that would make the
//! runtime open another file: a bundle may read nothing outside itself.
//!
//! Only the protocol-buffer framing and the few fields below are known here; whatever
//! else is wrong with a file is for ONNX Runtime to say.

/// Messages that can hold a tensor somewhere below.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    Function,
    Training,
}

impl Kind {
    /// The message type of field `number`, if it needs a look.
    fn child(self, number: u64) -> Option<Kind> {
        match (self, number) {
            (Kind::Model, 7) => Some(Kind::Graph),
            (Kind::Model, 20) => Some(Kind::Training),
            (Kind::Model, 25) => Some(Kind::Function),
            (Kind::Training, 1 | 2) => Some(Kind::Graph),
            (Kind::Function, 7) => Some(Kind::Node),
            (Kind::Graph, 1) => Some(Kind::Node),
            (Kind::Graph, 5) => Some(Kind::Tensor),
            (Kind::Graph, 15) => Some(Kind::SparseTensor),
            (Kind::Node, 5) => Some(Kind::Attribute),
            (Kind::Attribute, 5 | 10) => Some(Kind::Tensor),
            (Kind::Attribute, 6 | 11) => Some(Kind::Graph),
            (Kind::Attribute, 22 | 23) => Some(Kind::SparseTensor),
            (Kind::SparseTensor, 1 | 2) => Some(Kind::Tensor),
            _ => None,
        }
    }
}

const NODE_OP_TYPE: u64 = 4;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const TENSOR_DATA_LOCATION: u64 = 14;
const MAX_DEPTH: usize = 64;

/// # Errors
/// Says what refers outside, or that the bytes are no ONNX file.
pub fn self_contained(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("is empty; expected an ONNX file".into());
    }
    scan(Kind::Model, bytes, 0)
}

fn scan(kind: Kind, mut bytes: &[u8], depth: usize) -> Result<(), String> {
    let broken = || "is not an ONNX file (broken protocol buffer)".to_string();
    if depth > MAX_DEPTH {
        return Err("is nested too deeply for an ONNX file".into());
    }
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(broken)?;
        let number = tag >> 3;
        match tag & 7 {
            0 => {
                let value = varint(&mut bytes).ok_or_else(broken)?;
                if matches!(kind, Kind::Tensor) && number == TENSOR_DATA_LOCATION && value != 0 {
                    return Err(external());
                }
            }
            1 => bytes = bytes.get(8..).ok_or_else(broken)?,
            5 => bytes = bytes.get(4..).ok_or_else(broken)?,
            2 => {
                let length = varint(&mut bytes).and_then(|n| usize::try_from(n).ok());
                let length = length.filter(|n| *n <= bytes.len()).ok_or_else(broken)?;
                let (field, rest) = bytes.split_at(length);
                bytes = rest;
                match (kind, number) {
                    (Kind::Tensor, TENSOR_EXTERNAL_DATA) => return Err(external()),
                    (Kind::Node, NODE_OP_TYPE) if field == b"EPContext" => {
                        return Err("holds an EPContext node, which may name a compiled engine \
                                    outside the bundle; expected plain ONNX operators"
                            .into());
                    }
                    _ => {
                        if let Some(child) = kind.child(number) {
                            scan(child, field, depth + 1)?;
                        }
                    }
                }
            }
            _ => return Err(broken()),
        }
    }
    Ok(())
}

fn external() -> String {
    "keeps weights in another file; expected all weights inside the ONNX file".into()
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, b) in bytes.iter().take(10).enumerate() {
        value |= u64::from(b & 0x7f).checked_shl(7 * i as u32)?;
        if b & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, content.len() as u8];
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn weights_elsewhere_are_refused_wherever_they_hide() {
        let elsewhere = field(13, b"location: /etc/passwd");
        let initializer = field(7, &field(5, &elsewhere));
        assert!(
            self_contained(&initializer)
                .expect_err("external")
                .contains("another file")
        );
        let by_flag = field(7, &field(5, &[14 << 3, 1]));
        assert!(self_contained(&by_flag).is_err());
        // graph → node → attribute → graph → node → attribute → tensor
        let attribute = field(5, &elsewhere);
        let inner = field(6, &field(1, &field(5, &attribute)));
        assert!(self_contained(&field(7, &field(1, &field(5, &inner)))).is_err());
        let plain = field(7, &field(5, &field(9, &[0; 8])));
        assert_eq!(self_contained(&plain), Ok(()));
    }

    #[test]
    fn engines_elsewhere_are_refused() {
        let node = field(7, &field(1, &field(4, b"EPContext")));
        assert!(
            self_contained(&node)
                .expect_err("context")
                .contains("EPContext")
        );
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        assert!(self_contained(b"").is_err());
        assert!(self_contained(b"shall I compare thee to a summer's day").is_err());
        for n in 0..=255u8 {
            for m in 0..=255u8 {
                let _ = self_contained(&[n, m, 0xff, n ^ m, 3]);
            }
        }
    }
}
