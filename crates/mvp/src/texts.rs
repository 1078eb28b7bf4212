// SPDX-License-Identifier: MPL-2.0
//! The texts of a manifest: they go into messages, metadata and names of fields.

const MOST: usize = 1000;

/// Checks every text in `value`; `at` is the path of fields that leads to it.
///
/// # Errors
/// Names the field of the first text that is too long or holds a control character.
pub(crate) fn check(at: &str, value: &toml::Value) -> Result<(), String> {
    match value {
        toml::Value::String(text) if text.len() > MOST => Err(format!(
            "{at}: expected at most {MOST} bytes of text, found {}",
            text.len()
        )),
        toml::Value::String(text) => match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(format!(
                "{at}: expected printable characters, found the control character {}",
                c.escape_unicode()
            )),
            None => Ok(()),
        },
        toml::Value::Array(all) => {
            (all.iter().enumerate()).try_for_each(|(i, value)| check(&format!("{at}[{i}]"), value))
        }
        toml::Value::Table(all) => all.iter().try_for_each(|(key, value)| {
            let dot = if at.is_empty() { "" } else { "." };
            check(&format!("{at}{dot}{key}"), value)
        }),
        _ => Ok(()),
    }
}
