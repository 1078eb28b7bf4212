// SPDX-License-Identifier: MPL-2.0
//! What a graph gives out against what the manifest says of it: at load where the graph
//! tells its shapes, else in a run.

use mvp::{Bundle, Error, Estimator, Inputs, Network};
use onnx::{Provider, Runtime, SessionOptions};
use std::path::Path;
use std::sync::Arc;

/// Fields of a protocol buffer.
#[derive(Default)]
struct Proto(Vec<u8>);

impl Proto {
    fn varint(&mut self, mut value: u64) {
        while value > 127 {
            self.0.push(value as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u64, value: Proto) -> Self {
        self.bytes(field, &value.0)
    }
}

/// A value of type float; a size of 0 is left open.
fn value(name: &str, shape: &[u64]) -> Proto {
    let mut dims = Proto::default();
    for size in shape {
        let dim = match size {
            0 => Proto::default().text(2, "open"),
            n => Proto::default().number(1, *n),
        };
        dims = dims.message(1, dim);
    }
    let tensor = Proto::default().number(1, 1).message(2, dims);
    let kind = Proto::default().message(1, tensor);
    Proto::default().text(1, name).message(2, kind)
}

fn tensor(name: &str, kind: u64, shape: &[u64], raw: &[u8]) -> Proto {
    let mut t = Proto::default();
    for size in shape {
        t = t.number(1, *size);
    }
    t.number(2, kind).text(8, name).bytes(9, raw)
}

fn node(op: &str, inputs: &[&str], output: &str) -> Proto {
    let mut n = Proto::default();
    for input in inputs {
        n = n.text(1, input);
    }
    n.text(2, output).text(4, op)
}

/// An encoder of an EDA chunk that gives `[1, tokens, width]` numbers `number`, and says so
/// only of sizes that are not 0 in `declared`. How many tokens there are depends on the
/// flags, so no reader of the graph can know it.
fn encoder(tokens: u64, width: u64, declared: &[u64], number: f32) -> Vec<u8> {
    let numbers: Vec<u8> = (0..tokens * width)
        .flat_map(|_| number.to_le_bytes())
        .collect();
    let to_int = Proto::default().text(1, "to").number(3, 7).number(20, 2);
    let graph = Proto::default()
        .message(1, node("ReduceSum", &["valid"], "sum"))
        .message(1, node("Reshape", &["sum", "one"], "flat"))
        .message(1, node("Cast", &["flat"], "end").message(5, to_int))
        .message(
            1,
            node("Slice", &["numbers", "zero", "end", "one"], "tokens"),
        )
        .text(2, "encoder")
        .message(5, tensor("numbers", 1, &[1, tokens, width], &numbers))
        .message(5, tensor("zero", 7, &[1], &0u64.to_le_bytes()))
        .message(5, tensor("one", 7, &[1], &1u64.to_le_bytes()))
        .message(11, value("signal", &[1, 1, 20]))
        .message(11, value("valid", &[1, 1, 20]))
        .message(12, value("tokens", declared));
    let opset = Proto::default().text(1, "").number(2, 13);
    Proto::default()
        .number(1, 8)
        .message(7, graph)
        .message(8, opset)
        .0
}

/// The fixture with another encoder for EDA.
fn bundle(graph: &[u8]) -> tempfile::TempDir {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture");
    let dir = tempfile::tempdir().expect("dir");
    for entry in std::fs::read_dir(fixture).expect("bundle") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    let old = onnx::sha256(&std::fs::read(dir.path().join("eda.onnx")).expect("graph"));
    std::fs::write(dir.path().join("eda.onnx"), graph).expect("write");
    let manifest = dir.path().join("mvp.toml");
    let text = std::fs::read_to_string(&manifest).expect("manifest");
    std::fs::write(manifest, text.replace(&old, &onnx::sha256(graph))).expect("write");
    dir
}

/// At which of load and run the bundle is refused, and what is said.
fn outcome(runtime: &Runtime, graph: &[u8]) -> Result<f64, (&'static str, String)> {
    let dir = bundle(graph);
    let bundle = Arc::new(Bundle::open(dir.path()).expect("manifest"));
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    let network = Network::load(runtime, &bundle, &options, |_| {});
    let network = network.map_err(|e| ("load", e.to_string()))?;
    let inputs = Arc::new(Inputs::new(&bundle));
    let mut estimator = Estimator::new(bundle, inputs.clone(), network);
    {
        let mut track = inputs.signal("eda").expect("in the bundle");
        track.configure(4.0, None);
        for i in 0..120u64 {
            let t = i * 250_000_000;
            track.push(t, 5.0 + (t as f64 / 1e9).sin());
        }
    }
    let answer: Result<_, Error> = estimator.answer(20);
    let answer = answer.map_err(|e| ("run", e.to_string()))?;
    Ok(answer.modalities[1].coverage)
}

#[test]
fn an_output_is_what_the_manifest_says_or_an_error() {
    let test = "an_output_is_what_the_manifest_says_or_an_error";
    let runtime = match Runtime::load(None) {
        Ok(runtime) => runtime,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            return;
        }
        Err(e) => panic!("{e}"),
    };
    let open = [0, 0, 0];
    let right = outcome(&runtime, &encoder(1, 32, &open, 0.25)).expect("as declared");
    assert!(right > 0.2, "coverage {right}");
    for (graph, when, wants) in [
        (
            encoder(2, 32, &[1, 2, 32], 0.25),
            "load",
            ["[1, 1, 32]", "[1,2,32]"],
        ),
        (
            encoder(1, 64, &[1, 1, 64], 0.25),
            "load",
            ["[1, 1, 32]", "[1,1,64]"],
        ),
        (
            encoder(1, 32, &[1, 32], 0.25),
            "load",
            ["[1, 1, 32]", "expected"],
        ),
        (
            encoder(2, 32, &open, 0.25),
            "run",
            ["[1, 1, 32]", "[1, 2, 32]"],
        ),
        (
            encoder(0, 32, &open, 0.25),
            "run",
            ["[1, 1, 32]", "[1, 0, 32]"],
        ),
        (
            encoder(1, 32, &open, f32::NAN),
            "run",
            ["finite numbers", "NaN"],
        ),
    ] {
        let (at, error) = outcome(&runtime, &graph).expect_err(wants[1]);
        assert_eq!(at, when, "{error}");
        for want in ["eda.onnx", "output 'tokens'"].iter().chain(&wants) {
            // A graph whose own declaration is not what it computes is ONNX Runtime's to refuse.
            let refused = at == "load" && error.contains("refuses the graph");
            assert!(
                refused || error.contains(want),
                "'{want}' is not in: {error}"
            );
        }
    }
}
