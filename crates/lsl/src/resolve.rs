// SPDX-License-Identifier: MPL-2.0
use super::{Error, Library, StreamInfo, ffi, library::c_string};
use std::{ptr, time::Duration};

/// Looks for streams in the background until dropped; nothing here blocks.
pub struct Resolver {
    library: &'static Library,
    handle: ffi::Resolver,
}

// The handle's own thread does the work; the C calls lock inside.
unsafe impl Send for Resolver {}

impl Resolver {
    /// Starts looking for streams that match the LSL XPath `predicate`, or for all.
    /// A stream not seen for `forget_after` is no longer a result.
    ///
    /// # Errors
    /// A predicate that liblsl cannot read.
    pub fn new(
        library: &'static Library,
        predicate: Option<&str>,
        forget_after: Duration,
    ) -> Result<Self, Error> {
        let forget_after = forget_after.as_secs_f64();
        let handle = match predicate {
            None => unsafe { (library.table.create_resolver_all)(forget_after) },
            Some(predicate) => {
                let c = c_string("predicate", predicate)?;
                unsafe { (library.table.create_resolver)(c.as_ptr(), forget_after) }
            }
        };
        if handle.is_null() {
            return Err(Error::Predicate(
                predicate.unwrap_or_default().into(),
                library.last_error(),
            ));
        }
        Ok(Self { library, handle })
    }

    /// The streams known at this moment, each sender once.
    pub fn results(&self) -> Vec<StreamInfo> {
        let mut handles = [ptr::null_mut(); 128];
        let n = unsafe {
            (self.library.table.resolver_results)(
                self.handle,
                handles.as_mut_ptr(),
                handles.len() as u32,
            )
        };
        let n = usize::try_from(n).unwrap_or(0).min(handles.len());
        let mut found: Vec<StreamInfo> = handles[..n]
            .iter()
            .filter(|h| !h.is_null())
            .map(|&handle| StreamInfo {
                library: self.library,
                handle,
            })
            .collect();
        found.sort_by_key(StreamInfo::uid);
        found.dedup_by_key(|info| info.uid());
        found
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        unsafe { (self.library.table.destroy_resolver)(self.handle) }
    }
}

/// Which streams are wanted; everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub name: Option<String>,
    pub stream_type: Option<String>,
    pub source_id: Option<String>,
    /// LSL XPath, such as `starts-with(name,'Polar')`.
    pub predicate: Option<String>,
}

impl Query {
    /// The query as one XPath, `None` when everything matches.
    pub fn xpath(&self) -> Option<String> {
        let mut parts: Vec<String> = [
            ("name", &self.name),
            ("type", &self.stream_type),
            ("source_id", &self.source_id),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", xpath_literal(value.as_deref()?))))
        .collect();
        if let Some(predicate) = &self.predicate {
            parts.push(if parts.is_empty() {
                predicate.clone()
            } else {
                format!("({predicate})")
            });
        }
        (!parts.is_empty()).then(|| parts.join(" and "))
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.xpath() {
            Some(xpath) => write!(f, "an LSL stream with {xpath}"),
            None => f.write_str("any LSL stream"),
        }
    }
}

/// XPath 1.0 has no escapes: a text with both quotes is put together.
pub fn xpath_literal(s: &str) -> String {
    if !s.contains('\'') {
        format!("'{s}'")
    } else if !s.contains('"') {
        format!("\"{s}\"")
    } else {
        let parts: Vec<String> = s.split('\'').map(|p| format!("'{p}'")).collect();
        format!("concat({})", parts.join(",\"'\","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_xpath() {
        let mut q = Query::default();
        assert_eq!(q.xpath(), None);
        q.predicate = Some("starts-with(name,'P')".into());
        assert_eq!(q.xpath().as_deref(), Some("starts-with(name,'P')"));
        q.stream_type = Some("ECG".into());
        q.name = Some("Ann's".into());
        assert_eq!(
            q.xpath().as_deref(),
            Some("name=\"Ann's\" and type='ECG' and (starts-with(name,'P'))")
        );
        q = Query {
            source_id: Some("a'b\"c".into()),
            ..Query::default()
        };
        assert_eq!(
            q.xpath().as_deref(),
            Some("source_id=concat('a',\"'\",'b\"c')")
        );
    }
}
