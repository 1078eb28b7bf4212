// SPDX-License-Identifier: MPL-2.0
//! An XML reader for stream descriptions: a tree of elements and text. Descriptions have no
//! attributes.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Descriptions are a few levels deep. The limit keeps damaged ones from filling the memory.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads a document. Attributes, comments and processing instructions are left out. Text
    /// that XML does not allow, such as a lone `&`, is taken as it stands: outlets send it.
    ///
    /// # Errors
    /// What is wrong, for text that is no XML document of one root.
    pub(crate) fn parse(xml: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(xml);
        reader.config_mut().allow_dangling_amp = true;
        let mut open = vec![Element::default()];
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(tag) => {
                    if open.len() > MAX_DEPTH {
                        return Err(format!("more than {MAX_DEPTH} levels"));
                    }
                    open.push(Self::named(tag.name().as_ref())?);
                }
                Event::Empty(tag) => {
                    let element = Self::named(tag.name().as_ref())?;
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(element);
                    }
                }
                Event::End(_) => {
                    // The reader has compared the names.
                    if let Some(done) = open.pop()
                        && let Some(parent) = open.last_mut()
                    {
                        parent.children.push(done);
                    }
                }
                Event::Text(text) => append(&mut open, &text),
                Event::CData(text) => append(&mut open, &text),
                Event::GeneralRef(name) => {
                    let known = name.resolve_char_ref().ok().flatten().or_else(|| {
                        let name = std::str::from_utf8(&name).ok()?;
                        quick_xml::escape::resolve_xml_entity(name)?.chars().next()
                    });
                    match known {
                        Some(c) => append(&mut open, c.to_string().as_bytes()),
                        None => {
                            append(&mut open, b"&");
                            append(&mut open, &name);
                            append(&mut open, b";");
                        }
                    }
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        let mut top = open.pop().filter(|_| open.is_empty());
        match top
            .as_mut()
            .map(|top| (top.children.len(), top.children.pop()))
        {
            Some((1, Some(root))) => Ok(root),
            Some((0, _)) | None => Err("the document does not end, or has no root".into()),
            Some((n, _)) => Err(format!("the document has {n} roots, expected one")),
        }
    }

    fn named(name: &[u8]) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a tag without a name".into());
        }
        Ok(Self {
            name: readable(name),
            ..Self::default()
        })
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// All children of this name.
    pub(crate) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// Trimmed text of the first child of this name, else empty.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.child(name).map_or("", |c| c.text.trim())
    }
}

/// The text of a file or a peer. What is no UTF-8 becomes U+FFFD, and so does NUL: XML does not
/// allow it, and no string of C can hold it.
pub fn readable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace('\0', "\u{FFFD}")
}

fn append(open: &mut [Element], text: &[u8]) {
    if let Some(last) = open.last_mut() {
        last.text.push_str(&readable(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_outlets_write_it() {
        for (text, read) in [
            ("A &amp; &#66;&#x43; &lt;", "A & BC <"),
            ("R&D", "R&D"),
            ("a &unknown; b", "a &unknown; b"),
            ("&#xffffffff;", "&#xffffffff;"),
            ("<![CDATA[1 < 2]]> x", "1 < 2 x"),
            ("<!-- no -->yes<?no?>", "yes"),
            ("a\0b &#0; &#x0;", "a\u{FFFD}b &#0; &#x0;"),
        ] {
            let root = Element::parse(&format!("<i><v>{text}</v></i>")).expect(text);
            assert_eq!(root.value("v"), read, "{text}");
        }
    }
}
