// SPDX-License-Identifier: MPL-2.0
//! Sessions against a real ONNX Runtime.

use onnx::{Error, ModelSource, Provider, Runtime, SessionOptions};

fn runtime(test: &str) -> Option<Runtime> {
    match Runtime::load(None) {
        Ok(runtime) => Some(runtime),
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

fn face_model() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/models/face/face_blendshapes.onnx"
    );
    std::fs::read(path).expect("shipped model")
}

fn options(provider: Provider) -> SessionOptions {
    SessionOptions {
        provider,
        ..Default::default()
    }
}

#[test]
fn auto_descends_to_the_cpu_and_says_why() {
    let Some(runtime) = runtime("auto_descends_to_the_cpu_and_says_why") else {
        return;
    };
    let bytes = face_model();
    let source = ModelSource {
        name: "face_blendshapes.onnx",
        bytes: &bytes,
    };
    let mut session = runtime
        .session(source, &options(Provider::Auto))
        .expect("session");
    if session.active_provider() == "cpu" {
        let text = session.warnings().join("\n");
        assert!(text.contains("tensorrt") && text.contains("cuda"), "{text}");
    }
    let input = session.inputs()[0].clone();
    assert!(input.accepts(&[1, 146, 2]), "{}", input.shape_text());
    let landmarks = vec![100.0; 292];
    let out = session
        .run(&[(&input.name, &[1, 146, 2], &landmarks)])
        .expect("run");
    assert_eq!(out[0].data.len(), 52);
    assert!(session.assignment().iter().any(|(_, nodes)| *nodes > 0));
}

#[test]
fn an_explicit_provider_that_is_absent_is_an_error() {
    let Some(runtime) = runtime("an_explicit_provider_that_is_absent_is_an_error") else {
        return;
    };
    let bytes = face_model();
    let source = ModelSource {
        name: "face_blendshapes.onnx",
        bytes: &bytes,
    };
    for (provider, name) in [(Provider::Cuda, "cuda"), (Provider::TensorRt, "tensorrt")] {
        match runtime.session(source, &options(provider)) {
            Ok(session) => assert_eq!(session.active_provider(), name),
            Err(e) => assert!(
                matches!(&e, Error::Provider { provider, .. } if *provider == name),
                "{e}"
            ),
        }
    }
}

#[test]
fn what_is_not_onnx_is_refused_by_name() {
    let Some(runtime) = runtime("what_is_not_onnx_is_refused_by_name") else {
        return;
    };
    let source = ModelSource {
        name: "poem.onnx",
        bytes: b"shall I compare thee",
    };
    for provider in [Provider::Auto, Provider::Cpu] {
        match runtime.session(source, &options(provider)) {
            Err(Error::Graph { model, .. }) => assert_eq!(model, "poem.onnx"),
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("a poem became a session"),
        }
    }
}

#[test]
fn a_wrong_shape_is_an_error_and_the_session_lives_on() {
    let Some(runtime) = runtime("a_wrong_shape_is_an_error_and_the_session_lives_on") else {
        return;
    };
    let bytes = face_model();
    let source = ModelSource {
        name: "face_blendshapes.onnx",
        bytes: &bytes,
    };
    let mut session = runtime
        .session(source, &options(Provider::Cpu))
        .expect("session");
    let name = session.inputs()[0].name.clone();
    assert!(session.run(&[(&name, &[1, 10, 2], &[0.0; 20])]).is_err());
    assert!(session.run(&[(&name, &[1, 146, 2], &[0.0; 292])]).is_ok());
    session.control().cancel();
    let cancelled = session.run(&[(&name, &[1, 146, 2], &[0.0; 292])]);
    assert!(
        matches!(&cancelled, Err(Error::Cancelled { model }) if model == "face_blendshapes.onnx"),
        "{cancelled:?}"
    );
}
