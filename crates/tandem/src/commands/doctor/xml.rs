//! The elements of an XML file and their attributes: enough to look at Tomcat's configuration, which Tomcat itself
//! checks.

/// An opening tag.
#[derive(Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, String)>,
    /// The line it begins in, from 1.
    pub line: usize,
}

impl Tag {
    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// All opening tags; comments, declarations and texts are passed over. `Err` is the line where it is no XML.
pub fn tags(text: &str) -> Result<Vec<Tag>, usize> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('<') {
        let begin = at + open;
        let line = text[..begin].matches('\n').count() + 1;
        let rest = &text[begin..];
        let (skip, until) = if rest.starts_with("<!--") {
            (4, "-->")
        } else if rest.starts_with("<![CDATA[") {
            (9, "]]>")
        } else if rest.starts_with("<?") {
            (2, "?>")
        } else if rest.starts_with("<!") || rest.starts_with("</") {
            (2, ">")
        } else {
            let (tag, length) = tag(rest, line).ok_or(line)?;
            tags.push(tag);
            at = begin + length;
            continue;
        };
        let end = rest[skip..].find(until).ok_or(line)?;
        at = begin + skip + end + until.len();
    }
    Ok(tags)
}

/// The tag that `text` begins with, and its length.
fn tag(text: &str, line: usize) -> Option<(Tag, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    let mut rest = &text[1..];
    let name = rest
        .split(|c| !is_name(c))
        .next()
        .filter(|n| !n.is_empty())?;
    rest = rest[name.len()..].trim_start();
    let mut attributes = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix("/>").or_else(|| rest.strip_prefix('>')) {
            let tag = Tag {
                name: name.into(),
                attributes,
                line,
            };
            return Some((tag, text.len() - after.len()));
        }
        let key = rest
            .split(|c| !is_name(c))
            .next()
            .filter(|k| !k.is_empty())?;
        rest = rest[key.len()..]
            .trim_start()
            .strip_prefix('=')?
            .trim_start();
        let quote = rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
        let end = rest[1..].find(quote)?;
        attributes.push((key.into(), plain(&rest[1..=end])));
        rest = rest[end + 2..].trim_start();
    }
}

/// The five entities that every XML file has.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_found_outside_of_comments() {
        let text = "<?xml version=\"1.0\"?>\n<!-- <Manager className=\"no\"/> -->\n<Context a='x &amp; \"y\"'>\n\
                    <![CDATA[<Manager/>]]><Manager\n className = \"m\" b=\">\" />text</Context>";
        let tags = tags(text).unwrap();
        let names: Vec<_> = tags
            .iter()
            .map(|tag| (tag.name.as_str(), tag.line))
            .collect();
        assert_eq!(names, [("Context", 3), ("Manager", 4)]);
        assert_eq!(tags[0].get("a"), Some("x & \"y\""));
        assert_eq!(tags[1].get("className"), Some("m"));
        assert_eq!(tags[1].get("b"), Some(">"));
        assert_eq!(tags[1].get("c"), None);
    }

    #[test]
    fn what_is_no_xml_is_named_by_its_line() {
        for (text, line) in [
            ("<a>\n<b c=d>", 2),
            ("\n\n<!-- ", 3),
            ("<a b=\"c", 1),
            ("<>", 1),
            ("<a b", 1),
        ] {
            assert_eq!(tags(text), Err(line), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[<>!?/\\-a\u{e9}=\"' \n\\[\\]&;]{0,40}") {
            let _ = tags(&text);
        }
    }
}
