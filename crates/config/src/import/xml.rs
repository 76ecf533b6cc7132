//! The little of XML that a context.xml has: elements with attributes, each with its place (XML 1.0; no DTD, and no
//! entities but the five that are always there).

use super::sources::Spot;

/// An element, without what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub name: String,
    /// From its bracket to the end of its name.
    pub spot: Spot,
    pub attributes: Vec<Attribute>,
    /// How many elements it is in.
    pub depth: usize,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub name: String,
    pub value: String,
    /// From its name to its closing quote.
    pub spot: Spot,
}

/// What is wrong, and where.
pub(crate) type Wrong = (Spot, String);

/// All elements of a text, in its order.
pub(crate) fn elements(text: &str, file: usize) -> Result<Vec<Element>, Wrong> {
    let mut reader = Reader { text, file, at: 0 };
    let mut found = Vec::new();
    let mut open: Vec<(String, Spot)> = Vec::new();
    while let Some(bracket) = text[reader.at..].find('<') {
        reader.at += bracket;
        let start = reader.at;
        if reader.skip_past("<!--", "-->")?
            || reader.skip_past("<?", "?>")?
            || reader.skip_past("<![CDATA[", "]]>")?
        {
            continue;
        }
        if reader.rest().starts_with("<!") {
            return Err((
                reader.spot(start, start + 2),
                "a document type is not read".into(),
            ));
        }
        if reader.rest().starts_with("</") {
            reader.at += 2;
            let name = reader.name()?;
            reader.blanks();
            reader.expect('>')?;
            match open.pop() {
                Some((opened, _)) if opened == name => {}
                Some((opened, _)) => {
                    let spot = reader.spot(start, reader.at);
                    return Err((spot, format!("</{name}> closes <{opened}>")));
                }
                None => {
                    return Err((
                        reader.spot(start, reader.at),
                        format!("</{name}> closes nothing"),
                    ));
                }
            }
            continue;
        }
        reader.at += 1;
        let name = reader.name()?;
        let spot = reader.spot(start, reader.at);
        let mut element = Element {
            name: name.clone(),
            spot,
            attributes: Vec::new(),
            depth: open.len(),
        };
        loop {
            reader.blanks();
            if reader.rest().starts_with("/>") {
                reader.at += 2;
                break;
            }
            if reader.rest().starts_with('>') {
                reader.at += 1;
                open.push((name, spot));
                break;
            }
            let attribute = reader.attribute()?;
            if element
                .attributes
                .iter()
                .any(|other| other.name == attribute.name)
            {
                return Err((attribute.spot, format!("`{}` stands twice", attribute.name)));
            }
            element.attributes.push(attribute);
        }
        found.push(element);
    }
    match open.pop() {
        Some((name, spot)) => Err((spot, format!("<{name}> is not closed"))),
        None => Ok(found),
    }
}

struct Reader<'a> {
    text: &'a str,
    file: usize,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn spot(&self, start: usize, end: usize) -> Spot {
        Spot {
            file: self.file,
            start,
            end,
        }
    }

    fn here(&self, message: &str) -> Wrong {
        (self.spot(self.at, self.at + 1), message.to_owned())
    }

    /// Goes behind something that begins and ends so, if it stands here.
    fn skip_past(&mut self, begin: &str, end: &str) -> Result<bool, Wrong> {
        if !self.rest().starts_with(begin) {
            return Ok(false);
        }
        let length = self
            .rest()
            .find(end)
            .ok_or_else(|| self.here(&format!("{begin} is not closed by {end}")))?;
        self.at += length + end.len();
        Ok(true)
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn expect(&mut self, wanted: char) -> Result<(), Wrong> {
        if !self.rest().starts_with(wanted) {
            return Err(self.here(&format!("a {wanted} is missing here")));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn name(&mut self) -> Result<String, Wrong> {
        let rest = self.rest();
        let is_part = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
        let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.here("a name is missing here"));
        }
        let name = rest[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    fn attribute(&mut self) -> Result<Attribute, Wrong> {
        let start = self.at;
        let name = self.name()?;
        self.blanks();
        self.expect('=')?;
        self.blanks();
        let Some(quote @ ('"' | '\'')) = self.rest().chars().next() else {
            return Err(self.here("a quote is missing here"));
        };
        self.at += 1;
        let length = self
            .rest()
            .find(quote)
            .ok_or_else(|| self.here("a quote is opened here and not closed"))?;
        let value = unescape(&self.rest()[..length]);
        self.at += length + 1;
        Ok(Attribute {
            name,
            value,
            spot: self.spot(start, self.at),
        })
    }
}

/// The five entities, and characters by their numbers; others stay as they are.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let found = after
            .split_once(';')
            .and_then(|(name, after)| Some((character(name)?, after)));
        match found {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// What stands between & and ;.
fn character(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "amp" => '&',
        name => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_their_attributes_and_places() {
        let text = "<?xml version='1.0'?>\n<!-- <No/> -->\n<Context path=\"/a\">\n  <Manager x='1' y=\"a&amp;b&#44;&#x2c;&amp;lt;&no;&#xD800;\"/>\n</Context>\n";
        let found = elements(text, 0).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].name.as_str(), found[1].depth), ("Manager", 1));
        assert_eq!(found[1].attributes[1].value, "a&b,,&lt;&no;&#xD800;");
        assert_eq!(
            &text[found[1].attributes[0].spot.start..found[1].attributes[0].spot.end],
            "x='1'"
        );
    }

    #[test]
    fn what_is_no_xml_is_told_with_its_place() {
        for (text, wanted) in [
            ("<a>", "<a> is not closed"),
            ("<a></b>", "</b> closes <a>"),
            ("</a>", "</a> closes nothing"),
            ("<a x=1/>", "a quote is missing here"),
            ("<a x='1/>", "a quote is opened here and not closed"),
            ("<a x='1' x='2'/>", "`x` stands twice"),
            ("<!-- x", "<!-- is not closed by -->"),
            ("<!DOCTYPE a>", "a document type is not read"),
            ("< a/>", "a name is missing here"),
        ] {
            assert_eq!(elements(text, 0).unwrap_err().1, wanted, "{text}");
        }
    }
}
