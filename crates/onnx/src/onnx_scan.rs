// SPDX-License-Identifier: MPL-2.0
//! Looks through an ONNX file, without ONNX Runtime, for anything that would make the
//! runtime open another file: a bundle may read nothing outside itself.
//!
//! The messages from which a tensor or a node can be reached are known here with all their
//! fields, as of ONNX 1.23 (IR version 14). A field that is not among them is refused: it
//! might lead to a tensor. Whatever else is wrong with a file is for ONNX Runtime to say.

/// Messages that can hold a tensor or a node somewhere below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What is in a field.
enum Field {
    /// Nothing that could refer to a file.
    Plain,
    Message(Kind),
    /// Where the weights of a tensor are, if not in it.
    Elsewhere,
    /// Text that must not be one of these.
    Name(&'static [&'static str]),
}

/// A node that names a compiled engine, and the attributes that say where it is.
const ENGINES: &[&str] = &["EPContext"];
const ENGINE_FILES: &[&str] = &["ep_cache_context", "onnx_model_filename"];

impl Kind {
    /// `None` for a field that the message does not have.
    fn field(self, number: u64) -> Option<Field> {
        use Field::{Elsewhere, Message, Name, Plain};
        Some(match (self, number) {
            (Kind::Model, 7) => Message(Kind::Graph),
            (Kind::Model, 20) => Message(Kind::Training),
            (Kind::Model, 25) => Message(Kind::Function),
            (Kind::Model, 1..=6 | 8 | 14 | 26) => Plain,
            (Kind::Training, 1 | 2) => Message(Kind::Graph),
            (Kind::Training, 3 | 4) => Plain,
            (Kind::Function, 7) => Message(Kind::Node),
            (Kind::Function, 11) => Message(Kind::Attribute),
            (Kind::Function, 1 | 4..=6 | 8..=10 | 12..=14) => Plain,
            (Kind::Graph, 1) => Message(Kind::Node),
            (Kind::Graph, 5) => Message(Kind::Tensor),
            (Kind::Graph, 15) => Message(Kind::SparseTensor),
            (Kind::Graph, 2 | 10..=14 | 16) => Plain,
            (Kind::Node, 4) => Name(ENGINES),
            (Kind::Node, 5) => Message(Kind::Attribute),
            (Kind::Node, 1..=3 | 6..=10) => Plain,
            (Kind::Attribute, 1 | 21) => Name(ENGINE_FILES),
            (Kind::Attribute, 5 | 10) => Message(Kind::Tensor),
            (Kind::Attribute, 6 | 11) => Message(Kind::Graph),
            (Kind::Attribute, 22 | 23) => Message(Kind::SparseTensor),
            (Kind::Attribute, 2..=4 | 7..=9 | 13..=15 | 20) => Plain,
            (Kind::SparseTensor, 1 | 2) => Message(Kind::Tensor),
            (Kind::SparseTensor, 3) => Plain,
            (Kind::Tensor, 13 | 14) => Elsewhere,
            (Kind::Tensor, 1..=12 | 16) => Plain,
            _ => return None,
        })
    }
}

const MAX_DEPTH: usize = 64;

/// # Errors
/// Says what refers outside, or that the bytes are no ONNX file.
pub fn self_contained(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("is empty; expected an ONNX file".into());
    }
    // ONNX Runtime tells its own format by this mark alone, and would not read the rest as
    // it is read here.
    if bytes.get(4..8) == Some(b"ORTM") {
        return Err("is in ONNX Runtime's own format; expected an ONNX file".into());
    }
    scan(Kind::Model, bytes, 0)
}

fn scan(kind: Kind, mut bytes: &[u8], depth: usize) -> Result<(), String> {
    let broken = || "is not an ONNX file (broken protocol buffer)".to_string();
    if depth > MAX_DEPTH {
        return Err("is nested too deeply for an ONNX file".into());
    }
    let mut unknown = None;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(broken)?;
        let number = tag >> 3;
        // Parsers do not agree on what a longer tag is.
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(broken());
        }
        // Told only once the framing holds: a file that is no ONNX at all has such fields too.
        let field = kind.field(number).unwrap_or_else(|| {
            unknown.get_or_insert(number);
            Field::Plain
        });
        match tag & 7 {
            0 => {
                let value = varint(&mut bytes).ok_or_else(broken)?;
                match field {
                    Field::Elsewhere if value != 0 => return Err(external()),
                    Field::Message(_) | Field::Name(_) => return Err(broken()),
                    Field::Elsewhere | Field::Plain => {}
                }
            }
            wire @ (1 | 5) => {
                let length = if wire == 1 { 8 } else { 4 };
                bytes = bytes.get(length..).ok_or_else(broken)?;
                if !matches!(field, Field::Plain) {
                    return Err(broken());
                }
            }
            2 => {
                let length = varint(&mut bytes).and_then(|n| usize::try_from(n).ok());
                let length = length.filter(|n| *n <= bytes.len()).ok_or_else(broken)?;
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                match field {
                    Field::Elsewhere => return Err(external()),
                    Field::Message(child) => scan(child, content, depth + 1)?,
                    Field::Name(refused) => {
                        if let Some(name) = refused.iter().find(|n| n.as_bytes() == content) {
                            return Err(format!(
                                "holds '{name}', which may name a compiled engine outside the \
                                 bundle; expected plain ONNX operators"
                            ));
                        }
                    }
                    Field::Plain => {}
                }
            }
            // Groups, which ONNX has none of.
            _ => return Err(broken()),
        }
    }
    match unknown {
        Some(number) => Err(format!(
            "has a field {number} in its {kind:?} message that ONNX up to IR version 14 does not \
             have and that might lead to another file; expected an ONNX file that was exported \
             with IR version 14 or lower"
        )),
        None => Ok(()),
    }
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

    /// Every way to a tensor or a node that the descriptors of the `onnx` package know, and
    /// every field.
    #[test]
    fn every_way_that_onnx_knows_is_looked_at() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = std::env::var_os("GSTMVP_PYTHON")
            .map_or_else(|| root.join("target/venv/bin/python"), Into::into);
        let output = std::process::Command::new(&python)
            .arg(root.join("tests/python/onnx_paths.py"))
            .output();
        let output = match output {
            Ok(o) if o.status.success() => o.stdout,
            Ok(o) if !String::from_utf8_lossy(&o.stderr).contains("ModuleNotFoundError") => {
                panic!("{}", String::from_utf8_lossy(&o.stderr))
            }
            _ => {
                eprintln!("SKIPPED every_way_that_onnx_knows_is_looked_at: no Python with onnx");
                return;
            }
        };
        let output = String::from_utf8(output).expect("text");
        let (mut refused, mut accepted) = (0, 0);
        for line in output.lines() {
            let [kind, path, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let found = self_contained(&bytes);
            match kind {
                "refuse" => {
                    let error = found.expect_err(path);
                    let why = ["another file", "outside the bundle"];
                    assert!(why.iter().any(|w| error.contains(w)), "{path}: {error}");
                    refused += 1;
                }
                _ => {
                    assert_eq!(found, Ok(()), "{path}");
                    accepted += 1;
                }
            }
        }
        println!("{refused} refused, {accepted} accepted");
        assert!(refused > 200 && accepted > 80, "{refused} {accepted}");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let inside = |bytes: &[u8]| self_contained(&field(7, &field(1, bytes)));
        assert_eq!(inside(&field(4, b"Add")), Ok(()));
        // A field of a later ONNX, or of nobody.
        assert!(
            inside(&field(12, b"x"))
                .expect_err("12")
                .contains("field 12")
        );
        // A group; a message that is a number; a tag beyond 32 bits; field 0.
        for bytes in [
            &[5 << 3 | 3, 5 << 3 | 4][..],
            &[5 << 3, 1],
            &[5 << 3 | 5, 0, 0, 0, 0],
            &[0xaa, 0x80, 0x80, 0x80, 0x80, 0x01, 0],
            &[2, 0],
        ] {
            assert!(inside(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_format_of_the_runtime_is_refused() {
        // producer_name, whose content puts the mark where the runtime looks for it.
        let mut bytes = field(2, b"..ORTM and more");
        bytes.extend(field(7, b""));
        assert!(
            self_contained(&bytes)
                .expect_err("ORTM")
                .contains("own format")
        );
    }

    #[test]
    fn the_shipped_models_pass() {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let mut seen = 0;
        for folder in std::fs::read_dir(models).expect("models") {
            for file in std::fs::read_dir(folder.expect("entry").path()).expect("a bundle") {
                let path = file.expect("entry").path();
                if path.extension().is_some_and(|e| e == "onnx") {
                    let bytes = std::fs::read(&path).expect("readable");
                    assert_eq!(self_contained(&bytes), Ok(()), "{}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen >= 10, "{seen}");
    }
}
