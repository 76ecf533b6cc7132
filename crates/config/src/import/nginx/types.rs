//! `types`, `default_type` and `charset`: of what type a file is said to be.
//!
//! In nginx a block of `types` takes the place of all that hold further out, and nothing has a type but what is named:
//! `types { } default_type application/octet-stream;` sends whatever clients uploaded as something to save.

use std::collections::BTreeMap;

use super::super::document::{Table, Value};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::Translator;
use super::scope::{Scope, Set};
use super::tree::Directive;

/// What a file without a type of its own is, where `default_type` does not say.
const DEFAULT: &str = "text/plain";

/// What nginx knows where no block of types is there.
const BUILT_IN: [(&str, &str); 3] = [
    ("gif", "image/gif"),
    ("html", "text/html"),
    ("jpg", "image/jpeg"),
];

/// Types of which `charset` is said where `charset_types` does not say.
const WITH_CHARSET: [&str; 6] = [
    "text/html",
    "text/xml",
    "text/plain",
    "text/vnd.wap.wml",
    "application/javascript",
    "application/rss+xml",
];

/// The blocks of types of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types {
    by_suffix: BTreeMap<String, String>,
    /// Some come from the file that nginx brings along.
    has_usual: bool,
}

impl Types {
    /// Takes the entries of a block; a suffix that is named again has the last type.
    pub fn read(
        &mut self,
        directive: &Directive,
        file_of: &dyn Fn(Spot) -> String,
        verdicts: &mut Verdicts,
    ) {
        for entry in directive.inner() {
            check_type(&entry.name.text, entry.spot, entry.name.spot, verdicts);
            for suffix in &entry.args {
                self.by_suffix
                    .insert(suffix.text.to_ascii_lowercase(), entry.name.text.clone());
            }
            let from = file_of(entry.spot);
            self.has_usual |= [&from, &entry.name.text]
                .iter()
                .any(|name| name.ends_with("mime.types"));
        }
        // What stands before a name's last dot is never looked at; a star is the type of other files here.
        self.by_suffix
            .retain(|suffix, _| !suffix.contains('.') && suffix != "*");
    }
}

impl Types {
    /// The type of what is at a path.
    fn of(&self, path: &str) -> Option<&String> {
        let name = path.rsplit('/').next()?;
        let (before, suffix) = name.rsplit_once('.')?;
        let suffix = (!before.is_empty()).then(|| suffix.to_ascii_lowercase())?;
        self.by_suffix.get(&suffix)
    }
}

/// Refuses what cannot be sent as the value of a field.
pub(crate) fn check_type(kind: &str, directive: Spot, at: Spot, verdicts: &mut Verdicts) {
    let can_be_sent = !kind.is_empty() && kind.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if !can_be_sent {
        let message = format!("\"{kind}\" is no media type that can be sent");
        verdicts.refuse(directive, at, message);
    }
}

/// The type of a text that is answered: by the end of its path, if that is known. nginx looks at it, whatever the text is.
pub(crate) fn of_text(scope: &Scope, path: Option<&str>) -> String {
    let built_in = |path: &str| {
        let mut known = BUILT_IN.iter();
        let found =
            known.find(|(suffix, _)| path.to_ascii_lowercase().ends_with(&format!(".{suffix}")));
        found.map(|(_, kind)| (*kind).to_owned())
    };
    let named = path.and_then(|path| match &scope.types {
        Some(set) => set.value.of(path).cloned(),
        None => built_in(path),
    });
    let default = || scope.default_type.as_ref().map(|set| set.value.clone());
    let kind = named.or_else(default).unwrap_or_else(|| DEFAULT.to_owned());
    with_charset(scope, &kind)
}

impl Translator<'_> {
    /// `types`, `only-types` and `charset` of a site.
    pub fn types(&mut self, scope: &Scope, server: Spot, table: &mut Table) {
        let default = scope.default_type.as_ref();
        let default = default.map_or(DEFAULT, |set| set.value.as_str());
        let said = scope.types.as_ref();
        let usual = said.is_none_or(|set| set.value.has_usual);
        if usual && !self.options.direct {
            return self.beside_the_table(scope, default, server, table);
        }
        let with_charset = |kind: &str| with_charset(scope, kind);
        let mut types = Table::default();
        match said {
            Some(Set { value, .. }) => {
                for (suffix, kind) in &value.by_suffix {
                    types.put(suffix, Value::text(with_charset(kind)));
                }
            }
            None => {
                for (suffix, kind) in BUILT_IN {
                    types.put(suffix, Value::text(with_charset(kind)));
                }
            }
        }
        let default = with_charset(default);
        if default != "application/octet-stream" {
            types.put("*", Value::text(default));
        }
        if !types.is_empty() {
            table.put("types", Value::Table(types));
        }
        table.put("only-types", Value::plain(true));
        // Each type says it by itself.
        table.put("charset", Value::plain(false));
    }

    /// What nginx's own file has is in the table that sites have: the cluster file names what is added to it.
    fn beside_the_table(&mut self, scope: &Scope, default: &str, server: Spot, table: &mut Table) {
        let spot = scope.types.as_ref().map_or(server, |set| set.spot);
        self.verdicts.note(
            spot,
            "types are those of the built-in table, which has what nginx's mime.types has and more, JavaScript as \
             text/javascript and XML as application/xml; `only-types` of a site takes no others than its `types`",
        );
        let mut types = Table::default();
        if let Some(set) = &scope.types {
            for (suffix, kind) in &set.value.by_suffix {
                if usual(suffix) != Some(kind.as_str()) {
                    types.put(suffix, Value::text(kind));
                }
            }
        }
        if default != "application/octet-stream" {
            types.put("*", Value::text(default));
        }
        if !types.is_empty() {
            table.put("types", Value::Table(types));
        }
        if let Some(set) = &scope.charset {
            let value = match set.value.as_str() {
                "off" => Value::plain(false),
                charset => Value::text(charset),
            };
            table.put("charset", value);
        }
    }
}

/// A type with the charset of its place, if it has that.
pub(crate) fn with_charset(scope: &Scope, kind: &str) -> String {
    let charset = scope.charset.as_ref().filter(|set| set.value != "off");
    match charset.filter(|_| has_charset(scope, kind)) {
        Some(set) => format!("{kind}; charset={}", set.value),
        None => kind.to_owned(),
    }
}

/// Whether a text of this type has the charset of its place.
fn has_charset(scope: &Scope, kind: &str) -> bool {
    match &scope.charset_types {
        None => WITH_CHARSET.contains(&kind),
        // HTML always has.
        Some(set) => {
            kind == "text/html" || set.value.iter().any(|known| known == kind || known == "*")
        }
    }
}

/// The type of a suffix in the file that nginx 1.22 brings along.
fn usual(suffix: &str) -> Option<&'static str> {
    USUAL.lines().find_map(|line| {
        let mut words = line.split(' ');
        let kind = words.next()?;
        words.any(|word| word == suffix).then_some(kind)
    })
}

/// The types that nginx brings along, each with its suffixes.
const USUAL: &str = "\
text/html html htm shtml
text/css css
text/xml xml
image/gif gif
image/jpeg jpeg jpg
application/javascript js
application/atom+xml atom
application/rss+xml rss
text/mathml mml
text/plain txt
text/vnd.sun.j2me.app-descriptor jad
text/vnd.wap.wml wml
text/x-component htc
image/avif avif
image/png png
image/svg+xml svg svgz
image/tiff tif tiff
image/vnd.wap.wbmp wbmp
image/webp webp
image/x-icon ico
image/x-jng jng
image/x-ms-bmp bmp
font/woff woff
font/woff2 woff2
application/java-archive jar war ear
application/json json
application/mac-binhex40 hqx
application/msword doc
application/pdf pdf
application/postscript ps eps ai
application/rtf rtf
application/vnd.apple.mpegurl m3u8
application/vnd.google-earth.kml+xml kml
application/vnd.google-earth.kmz kmz
application/vnd.ms-excel xls
application/vnd.ms-fontobject eot
application/vnd.ms-powerpoint ppt
application/vnd.oasis.opendocument.graphics odg
application/vnd.oasis.opendocument.presentation odp
application/vnd.oasis.opendocument.spreadsheet ods
application/vnd.oasis.opendocument.text odt
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
application/vnd.wap.wmlc wmlc
application/wasm wasm
application/x-7z-compressed 7z
application/x-cocoa cco
application/x-java-archive-diff jardiff
application/x-java-jnlp-file jnlp
application/x-makeself run
application/x-perl pl pm
application/x-pilot prc pdb
application/x-rar-compressed rar
application/x-redhat-package-manager rpm
application/x-sea sea
application/x-shockwave-flash swf
application/x-stuffit sit
application/x-tcl tcl tk
application/x-x509-ca-cert der pem crt
application/x-xpinstall xpi
application/xhtml+xml xhtml
application/xspf+xml xspf
application/zip zip
application/octet-stream bin exe dll
application/octet-stream deb
application/octet-stream dmg
application/octet-stream iso img
application/octet-stream msi msp msm
audio/midi mid midi kar
audio/mpeg mp3
audio/ogg ogg
audio/x-m4a m4a
audio/x-realaudio ra
video/3gpp 3gpp 3gp
video/mp2t ts
video/mp4 mp4
video/mpeg mpeg mpg
video/quicktime mov
video/webm webm
video/x-flv flv
video/x-m4v m4v
video/x-mng mng
video/x-ms-asf asx asf
video/x-ms-wmv wmv
video/x-msvideo avi
";

#[cfg(test)]
mod tests {
    use super::super::tests::{are_refused, direct};
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_refused() {
        are_refused(&[
            ("default_type '';", "no media type"),
            ("types { téxt/x a; }", "no media type"),
            ("charset $c;", "no charset"),
        ]);
        let made = direct("types { x/y * a.b; } server { listen 81; root /; }");
        assert!(!made.text.contains("x/y"), "{}", made.text);
    }

    #[test]
    fn the_types_that_nginx_brings_along_are_known() {
        assert_eq!(usual("html"), Some("text/html"));
        assert_eq!(usual("avi"), Some("video/x-msvideo"));
        assert_eq!(usual("text/html"), None);
        assert_eq!(usual("md"), None);
    }
}
