// SPDX-License-Identifier: MPL-2.0
//! What must hold of the source tree itself: which crate may use which, how long a file and
//! a function may be, that links lead somewhere, that no machine is named.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
};

const FILE_LIMIT: usize = 900;
const FUNCTION_LIMIT: usize = 120;

/// Files over the limit and the most lines that each may have. Nothing is added here: what
/// stands here is to be split. Lower the number after a file shrank.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions over the limit, as `file::function`. The same rules.
const LONG_FUNCTIONS: &[(&str, usize)] = &[
    (
        "tests/lslsink_peers.rs::labrecorder_records_results_beside_raw_streams",
        208,
    ),
    ("tests/lslsrc.rs::samples_stamps_and_description", 147),
    ("tests/lslsrc_peers.rs::pylsl_every_kind", 121),
    (
        "tests/replay.rs::a_recorded_session_is_answered_as_it_was_live",
        154,
    ),
    (
        "tests/xdfdemux_peers.rs::a_real_recording_of_two_clocks_is_what_pyxdf_reads",
        124,
    ),
    (
        "tools/mvp-offline/tests/offline.rs::wrong_input_is_told_by_name_with_what_was_expected",
        122,
    ),
];

/// Crates that know nothing of GStreamer.
const PURE: &[&str] = &[
    "conditioning",
    "face",
    "host",
    "lsl",
    "mvp",
    "onnx",
    "stream-info",
    "timing",
    "xdf",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(out.stdout).expect("text")
}

/// Names of the crates that end up in `package`, itself among them.
fn built_into(package: &str) -> BTreeSet<String> {
    let arguments = "tree --edges normal --prefix none --format {p} --offline --locked --package";
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.push(package);
    let tree = cargo(&arguments);
    let names: BTreeSet<String> = tree
        .lines()
        .filter_map(|l| l.split(' ').next())
        .map(str::to_string)
        .collect();
    assert!(names.contains(package), "{package}: {names:?}");
    names
}

/// The files of the repository, relative to its root; `None` (and a SKIPPED line) where
/// this is no checkout.
fn tracked(test: &str) -> Option<Vec<String>> {
    let out = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output();
    match out {
        Ok(out) if out.status.success() => {
            let names = String::from_utf8(out.stdout).expect("names");
            let names = names.split('\0').filter(|n| !n.is_empty());
            // A file that was deleted and not yet committed is still in the index.
            let names = names.filter(|n| root().join(n).is_file());
            Some(names.map(str::to_string).collect())
        }
        _ => {
            println!("SKIPPED {test}: this is no git checkout, or git is missing");
            None
        }
    }
}

fn ends_with(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|e| name.ends_with(e))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A Python for scripts that need its standard library only.
fn python() -> PathBuf {
    std::env::var_os("GSTMVP_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

#[test]
fn the_picture_of_the_crates_is_current() {
    let test = "the_picture_of_the_crates_is_current";
    let script = root().join("scripts/architecture.py");
    let run = Command::new(python())
        .arg(script)
        .arg("--check")
        .env("CARGO", env!("CARGO"))
        .output();
    match run {
        Ok(out) => assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        ),
        Err(e) => println!("SKIPPED {test}: {}: {e}", python().display()),
    }
}

#[test]
fn the_lsl_plugin_is_built_without_networks_and_drawing() {
    let names = built_into("gst-plugin-lsl");
    let unwanted = [
        "ort",
        "ort-sys",
        "onnx",
        "cairo-rs",
        "cairo-sys-rs",
        "pango",
        "pango-sys",
        "pangocairo",
        "face",
        "mvp",
        "conditioning",
    ];
    let found: Vec<_> = unwanted.iter().filter(|n| names.contains(**n)).collect();
    assert!(found.is_empty(), "gst-plugin-lsl is built with {found:?}");
    // The names are those that cargo uses: the other plugin has all of them.
    let whole = built_into("gst-plugin-mvp");
    let absent: Vec<_> = unwanted.iter().filter(|n| !whole.contains(**n)).collect();
    assert!(
        absent.is_empty(),
        "gst-plugin-mvp is built without {absent:?}"
    );
}

#[test]
fn pure_crates_know_nothing_of_gstreamer() {
    let of_gstreamer = |name: &&String| {
        name.starts_with("gst") || ["glib", "gobject-sys", "gio-sys"].contains(&name.as_str())
    };
    for package in PURE.iter().chain(&["mvp-check", "mvp-offline"]) {
        let names = built_into(package);
        let found: Vec<_> = names.iter().filter(of_gstreamer).collect();
        assert!(found.is_empty(), "{package} is built with {found:?}");
    }
    let names = built_into("gst-common");
    assert!(names.iter().any(|n| of_gstreamer(&n)), "{names:?}");
}

/// What no one builds breaks without anybody noticing.
#[test]
fn every_feature_is_checked() {
    let metadata = cargo(&[
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let script = read("scripts/features.sh");
    let words: BTreeSet<&str> = script
        .split(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c))
        .collect();
    let mut count = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        for feature in package["features"].as_object().expect("features").keys() {
            let known = feature == "default" || words.contains(feature.as_str());
            assert!(
                known,
                "scripts/features.sh does not check {feature} of {}",
                package["name"]
            );
            count += 1;
        }
    }
    assert!(count > 4, "{count} features");
}

/// Every crate of `crates/` is either on the list of pure ones or called `gst-...`.
#[test]
fn a_crate_says_by_its_name_whether_it_knows_gstreamer() {
    for entry in std::fs::read_dir(root().join("crates")).expect("crates") {
        let name = entry.expect("entry").file_name();
        let name = name.to_string_lossy();
        assert!(
            name.starts_with("gst-") != PURE.contains(&name.as_ref()),
            "crates/{name} is neither in PURE of tests/house.rs nor called gst-..."
        );
    }
}

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|e| e.expect("entry").path());
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    paths.flat_map(below).collect()
}

/// Elements of one crate share modules and use nothing of each other.
#[test]
fn no_element_uses_another() {
    for source in ["src", "crates/gst-lsl/src"] {
        let folders: Vec<String> = std::fs::read_dir(root().join(source))
            .expect("sources")
            .map(|e| e.expect("entry").path())
            .filter(|p| p.join("imp.rs").is_file())
            .map(|p| p.file_name().expect("name").to_string_lossy().into_owned())
            .collect();
        assert!(folders.len() >= 4, "{source}: {folders:?}");
        for folder in &folders {
            for path in files(&root().join(source).join(folder)) {
                let text = std::fs::read_to_string(&path).expect("text");
                for other in folders.iter().filter(|o| *o != folder) {
                    let used = [format!("crate::{other}"), format!("super::super::{other}")];
                    assert!(
                        !used.iter().any(|u| text.contains(u)),
                        "{} uses {other}; move what both need into a module beside them",
                        path.display()
                    );
                }
            }
        }
    }
}

/// Compares sizes with a limit and a list of those that may be above it; says each fault.
fn check_sizes(what: &str, limit: usize, sizes: &[(String, usize)], known: &[(&str, usize)]) {
    let mut faults = Vec::new();
    for (name, lines) in sizes {
        match known.iter().find(|(n, _)| n == name) {
            None if *lines > limit => {
                faults.push(format!(
                    "{name} has {lines} lines, at most {limit} are allowed"
                ));
            }
            Some((_, most)) if lines > most => {
                faults.push(format!("{name} has grown from {most} to {lines} lines"));
            }
            Some(_) if *lines <= limit => {
                faults.push(format!("{name} has {lines} lines: take it off the list"));
            }
            _ => {}
        }
    }
    for (name, _) in known {
        if !sizes.iter().any(|(n, _)| n == name) {
            faults.push(format!(
                "{name} is not there any more: take it off the list"
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "{what} (lists in tests/house.rs):\n{}",
        faults.join("\n")
    );
}

#[test]
fn no_file_is_too_long() {
    let Some(names) = tracked("no_file_is_too_long") else {
        return;
    };
    let sizes: Vec<(String, usize)> = names
        .into_iter()
        .filter(|n| ends_with(n, &[".rs", ".py", ".sh", ".c"]))
        .map(|n| {
            let lines = read(&n).lines().count();
            (n, lines)
        })
        .collect();
    assert!(sizes.len() > 100, "{} files", sizes.len());
    check_sizes("files", FILE_LIMIT, &sizes, LONG_FILES);
}

#[test]
fn no_function_is_too_long() {
    let Some(names) = tracked("no_function_is_too_long") else {
        return;
    };
    let mut sizes = Vec::new();
    for name in &names {
        let text = match name {
            n if ends_with(n, &[".rs", ".py"]) => read(n),
            _ => continue,
        };
        let lines: Vec<&str> = text.lines().collect();
        let rust = name.ends_with(".rs");
        for at in 0..lines.len() {
            let body = if rust {
                rust_function(&lines, at)
            } else {
                python_function(&lines, at)
            };
            if let Some((function, body)) = body {
                sizes.push((format!("{name}::{function}"), body.len()));
            }
        }
    }
    assert!(sizes.len() > 1000, "{} functions", sizes.len());
    // Several types of one file may have a function of the same name: the longest counts.
    sizes.sort_by(|a, b| (&a.0, b.1).cmp(&(&b.0, a.1)));
    sizes.dedup_by(|a, b| a.0 == b.0);
    check_sizes("functions", FUNCTION_LIMIT, &sizes, LONG_FUNCTIONS);
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The function that begins in line `at`, by the layout that rustfmt gives: it ends where a
/// brace stands as deep as its beginning.
fn rust_function<'a>(lines: &[&'a str], at: usize) -> Option<(&'a str, Range<usize>)> {
    let line = lines[at].trim_start();
    let (before, after) = line
        .strip_prefix("fn ")
        .map(|l| ("", l))
        .or_else(|| line.split_once(" fn "))?;
    let prefix = |w: &str| {
        ["async", "const", "unsafe", "extern", "\"C\"", "\"system\""].contains(&w)
            || w.starts_with("pub")
            || ["in", "crate)", "super)"].contains(&w)
    };
    if !before.split_whitespace().all(prefix) {
        return None;
    }
    let name = after
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    let opened = (at..lines.len()).find(|&l| ends_with(lines[l], &["{", "}", ";"]))?;
    if !lines[opened].ends_with('{') {
        return (lines[opened].ends_with('}')).then_some((name, at..opened + 1));
    }
    let depth = indent(lines[at]);
    let end =
        (opened + 1..lines.len()).find(|&l| lines[l].trim() == "}" && indent(lines[l]) == depth)?;
    Some((name, at..end + 1))
}

/// The function that begins in line `at`; it ends before the next line as deep as it.
fn python_function<'a>(lines: &[&'a str], at: usize) -> Option<(&'a str, Range<usize>)> {
    let line = lines[at].trim_start();
    let after = line
        .strip_prefix("def ")
        .or_else(|| line.strip_prefix("async def "))?;
    let name = after
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    let depth = indent(lines[at]);
    let outside = |l: &usize| {
        let line = lines[*l];
        !line.trim().is_empty() && indent(line) <= depth && !line.trim_start().starts_with(')')
    };
    let end = (at + 1..lines.len()).find(outside).unwrap_or(lines.len());
    let last = (at..end).rfind(|&l| !lines[l].trim().is_empty())?;
    Some((name, at..last + 1))
}

#[test]
fn functions_are_measured_whole() {
    let rust = "impl A {\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8\n    where\n        \
                u8: Copy,\n    {\n        if a {\n            b\n        }\n    }\n}\n\
                fn one() {}\nextern fn later();\nlet x = |fn_| fn_;\n";
    let lines: Vec<&str> = rust.lines().collect();
    let found: Vec<_> = (0..lines.len())
        .filter_map(|l| rust_function(&lines, l))
        .collect();
    assert_eq!(found, [("long", 1..11), ("one", 12..13)]);
    let python = "class A:\n    def long(\n        self,\n    ) -> None:\n        a = 1\n\n        def inner():\n            \
                  pass\n\n    b = 2\n\n\ndef last():\n    pass\n";
    let lines: Vec<&str> = python.lines().collect();
    let found: Vec<_> = (0..lines.len())
        .filter_map(|l| python_function(&lines, l))
        .collect();
    assert_eq!(found, [("long", 1..8), ("inner", 6..8), ("last", 12..14)]);
}

/// Links of a Markdown text, outside code: target and line.
fn links(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            found.push((rest[..end].to_string(), number + 1));
        }
    }
    found
}

/// What GitHub makes of the headings of a Markdown text.
fn anchors(text: &str) -> Vec<String> {
    let mut code = false;
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        found.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    found
}

#[test]
fn links_in_documents_lead_somewhere() {
    let Some(names) = tracked("links_in_documents_lead_somewhere") else {
        return;
    };
    let mut faults = Vec::new();
    let mut count = 0;
    for name in names.iter().filter(|n| n.ends_with(".md")) {
        for (link, line) in links(&read(name)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(name),
                file => root().join(name).parent().expect("folder").join(file),
            };
            if !target.exists() {
                faults.push(format!("{name}:{line}: {link} is not there"));
            } else if !anchor.is_empty()
                && !std::fs::read_to_string(&target)
                    .is_ok_and(|t| anchors(&t).iter().any(|a| a == anchor))
            {
                faults.push(format!("{name}:{line}: {link}: no heading gives #{anchor}"));
            }
        }
    }
    // Pages are named in comments and in texts of the program too.
    for name in names
        .iter()
        .filter(|n| ends_with(n, &[".rs", ".py", ".sh", ".toml", ".md", ".cff"]))
    {
        for (number, line) in read(name).lines().enumerate() {
            for (at, _) in line.match_indices("docs/") {
                let end =
                    line[at..].find(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c));
                let page = line[at..end.map_or(line.len(), |e| at + e)].trim_end_matches('.');
                let before = line[..at].chars().next_back();
                let whole = !before.is_some_and(|c| c.is_alphanumeric() || "/_-".contains(c));
                if whole && page.ends_with(".md") && !root().join(page).is_file() {
                    faults.push(format!("{name}:{}: {page} is not there", number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 20, "{count} links");
}

#[test]
fn no_machine_is_named() {
    let Some(names) = tracked("no_machine_is_named") else {
        return;
    };
    // Made of pieces, or this file would be found.
    let mut paths: Vec<String> = ["root", "home", "Users"].map(|d| format!("/{d}/")).into();
    paths.push(format!("{}/", root().display()));
    let registries = ["index", "extra-index"].map(|o| format!("{o}-url"));
    let mut faults = Vec::new();
    for name in &names {
        let bytes = std::fs::read(root().join(name)).expect("file");
        for path in &paths {
            if names_path(&bytes, path.as_bytes()) {
                faults.push(format!("{name} names {path}"));
            }
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        for (at, _) in text.match_indices("://") {
            let authority =
                text[at + 3..].split(|c: char| !c.is_ascii_alphanumeric() && !"-.:@".contains(c));
            let authority = authority.into_iter().next().unwrap_or("");
            if inside_network(authority) {
                faults.push(format!("{name} names the host {authority}"));
            }
        }
        for option in registries.iter().chain([&"replace-".to_string()]) {
            if text.contains(&format!("{option}="))
                || text.contains(&format!("{option} ="))
                || (option == "replace-" && text.contains(&format!("{option}with")))
            {
                faults.push(format!("{name} names a registry ({option})"));
            }
        }
        if name.ends_with("Cargo.lock") {
            let sources = text.lines().filter(|l| l.starts_with("source = "));
            let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
            if let Some(other) = sources.into_iter().find(|l| *l != public) {
                faults.push(format!("{name}: {other}; expected crates.io"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether `path` is in `text` as the beginning of an absolute path.
fn names_path(text: &[u8], path: &[u8]) -> bool {
    text.windows(path.len()).enumerate().any(|(at, w)| {
        let before = at.checked_sub(1).map_or(b' ', |b| text[b]);
        w == path && !before.is_ascii_alphanumeric() && !b"./_-}$*".contains(&before)
    })
}

/// Whether a host can only be reached inside somebody's network. This machine itself and
/// placeholders in upper case are none.
fn inside_network(authority: &str) -> bool {
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = host.split(':').next().unwrap_or("").trim_end_matches('.');
    let known = ["", "localhost", "127.0.0.1"].contains(&host);
    let placeholder = host.chars().all(|c| c.is_ascii_uppercase());
    let private = [
        ".internal",
        ".local",
        ".lan",
        ".corp",
        ".intranet",
        ".localdomain",
    ];
    let number = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    !known && !placeholder && (!host.contains('.') || number || ends_with(host, &private))
}

#[test]
fn machines_are_recognised() {
    for (authority, inside) in [
        ("github.com", false),
        ("localhost:8080", false),
        ("127.0.0.1:1", false),
        ("HOST", false),
        ("mirror", true),
        ("user@mirror:80", true),
        ("10.1.2.3", true),
        ("pypi.corp", true),
    ] {
        assert_eq!(inside_network(authority), inside, "{authority}");
    }
    assert!(names_path(b"see /a/b/c", b"/a/b/"));
    assert!(!names_path(b"see x/a/b/c", b"/a/b/"));
    assert!(!names_path(b"$X/a/b/c ${X}/a/b/", b"/a/b/"));
}
