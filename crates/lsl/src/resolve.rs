// SPDX-License-Identifier: MPL-2.0
use super::{Error, Library, StreamInfo, ffi, library::c_string, limits};
use std::{ffi::CString, ptr, time::Duration};
use stream_info::{Description, shortened};

/// How many answers are looked at; liblsl gives them in the order of their uids.
const MAX_ANSWERS: usize = 1024;
/// Room for the answers of most networks.
const USUAL_ANSWERS: usize = 64;

/// Searches for streams in the background until dropped. Its calls do not wait for answers.
pub struct Resolver {
    library: &'static Library,
    handle: ffi::Resolver,
    query: Query,
    xpath: Option<CString>,
}

// SAFETY: liblsl's thread behind the handle shares its results under a lock of its own;
// whoever owns this value is the only one who calls with the handle.
unsafe impl Send for Resolver {}

/// A stream that answered, fits the query and can be received.
pub struct Match {
    /// What an inlet is made of.
    pub info: StreamInfo,
    /// What `info` says, without the long description, which only an inlet gets.
    pub description: Description,
}

/// The answers to a search up to now.
#[derive(Default)]
pub struct Found {
    /// Each outlet once, in the order of the uids.
    pub streams: Vec<Match>,
    /// Why other answers are left out, for people: each reason once.
    pub refused: Vec<String>,
}

impl Resolver {
    /// Starts looking for the streams that `query` describes.
    /// A stream not seen for `forget_after` is no longer a result.
    ///
    /// # Errors
    /// A predicate that liblsl cannot read, or too few files that the process may open.
    pub fn new(
        library: &'static Library,
        query: &Query,
        forget_after: Duration,
    ) -> Result<Self, Error> {
        limits::check_descriptors()?;
        let forget_after = forget_after.as_secs_f64();
        let xpath = query.xpath();
        let predicate = xpath
            .as_deref()
            .map(|xpath| c_string("predicate", xpath))
            .transpose()?;
        let handle = match &predicate {
            // SAFETY: any number of seconds is allowed.
            None => unsafe { (library.table.create_resolver_all)(forget_after) },
            // SAFETY: the string is terminated by NUL and outlives the call, which copies it.
            Some(p) => unsafe { (library.table.create_resolver)(p.as_ptr(), forget_after) },
        };
        if handle.is_null() {
            return Err(Error::Predicate(
                xpath.unwrap_or_default(),
                library.last_error(),
            ));
        }
        Ok(Self {
            library,
            handle,
            query: query.clone(),
            xpath: predicate,
        })
    }

    /// The streams known now. Any host can answer a search with anything: each answer is
    /// checked against the limits and against the query again.
    pub fn results(&self) -> Found {
        let mut found = Found::default();
        let mut infos = self.infos(USUAL_ANSWERS);
        if infos.len() >= USUAL_ANSWERS {
            infos = self.infos(MAX_ANSWERS);
        }
        if infos.len() >= MAX_ANSWERS {
            found.refused.push(format!(
                "{MAX_ANSWERS} or more LSL streams answered; only so many are looked at. Take senders off \
                 the network, or give them a session of their own (SessionID in lsl_api.cfg)"
            ));
        }
        for info in infos {
            match info.describe() {
                Ok(description) if self.matches(&info, &description) => {
                    found.streams.push(Match { info, description });
                }
                Ok(d) => found.refused.push(format!(
                    "The LSL stream {d} answered a search for {}, which it does not match; it is \
                     ignored. Its sender does not follow LSL's protocol: correct it or take it off \
                     the network",
                    shortened(&self.query.xpath().unwrap_or_default())
                )),
                Err(e) => found.refused.push(e.to_string()),
            }
        }
        let streams = &mut found.streams;
        streams.sort_by(|a, b| a.description.uid.cmp(&b.description.uid));
        streams.dedup_by(|a, b| a.description.uid == b.description.uid);
        found.refused.sort();
        found.refused.dedup();
        found
    }

    fn infos(&self, most: usize) -> Vec<StreamInfo> {
        let mut handles = vec![ptr::null_mut(); most];
        // SAFETY: the resolver is live until `drop`; there is room for `most` handles.
        let n = unsafe {
            (self.library.table.resolver_results)(self.handle, handles.as_mut_ptr(), most as u32)
        };
        handles.truncate(usize::try_from(n).unwrap_or(0));
        handles
            .into_iter()
            .filter(|h| !h.is_null())
            // SAFETY: each of the first `n` handles is a new streaminfo that the caller owns.
            .map(|handle| unsafe { StreamInfo::from_handle(self.library, handle) })
            .collect()
    }

    fn matches(&self, info: &StreamInfo, d: &Description) -> bool {
        let Some(xpath) = &self.xpath else {
            return true;
        };
        self.query.fits(d) && info.matches(xpath).unwrap_or(true)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // SAFETY: the resolver is live and this value's own; nothing can use it afterwards.
        unsafe { (self.library.table.destroy_resolver)(self.handle) }
    }
}

/// Which streams are wanted; everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Exact name.
    pub name: Option<String>,
    /// Exact type.
    pub stream_type: Option<String>,
    /// Exact source id.
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

    /// Whether name, type and source id are those asked for. Only liblsl evaluates the
    /// predicate.
    fn fits(&self, d: &Description) -> bool {
        [
            (&self.name, &d.name),
            (&self.stream_type, &d.stream_type),
            (&self.source_id, &d.source_id),
        ]
        .into_iter()
        .all(|(wanted, is)| wanted.as_ref().is_none_or(|wanted| wanted == is))
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

/// `s` as a literal of XPath 1.0, which has no escapes: a text with both kinds of quotes
/// becomes a `concat`.
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
